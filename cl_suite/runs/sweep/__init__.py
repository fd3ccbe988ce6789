"""Many runs: a YAML file becomes run folders, and workers fill them."""
