"""SimCLR in each session: self-supervised fine-tuning, the baseline of CaSSLe and Sy-CON.

Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020, arXiv 2002.05709. `z` are the projections of the `2 batch` random
views of a batch, and `z_p` is that of the other view of the same sample:

    L = mean_i -log exp(cos(z_i, z_p) / t) / sum_{j != i} exp(cos(z_i, z_j) / t)

Sessions follow one another and nothing prevents forgetting. No label is used; probes measure the
quality of the features.

Differences from the paper:
    - the recipe is that of CaSSLe's and Sy-CON's programs for streams: a temperature of 0.2, a
      projector of 2048 and 128 units, and LARS that clips its trust ratio by the rate and leaves
      out biases and normalisation parameters; set their 500 epochs a session and batches of 256
      yourself;
    - both views are drawn from the same distribution; the programs solarise (and blur) one of the
      two more often;
    - the last batch of an epoch is used too if it has two samples or more.
"""

from __future__ import annotations

from dataclasses import dataclass

from cl_suite.methods.self_supervised.plugin import SelfSupervisedPlugin


@dataclass(kw_only=True, eq=False)
class SimCLRPlugin(SelfSupervisedPlugin):
    """Match the two views of each sample among all views of the batch."""
