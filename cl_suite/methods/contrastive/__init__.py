"""What pretraining by a contrastive loss is made of: each loss with its paper's settings."""
