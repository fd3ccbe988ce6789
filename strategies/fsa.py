"""FSA: first-session adaptation, then any head rule on the frozen network.

Panos, Kobe, Reino, Aljundi, Turner, "First Session Adaptation: A Strong Replay-Free Baseline for
Class-Incremental Learning", ICCV 2023, arXiv 2303.13199; APER (Zhou, Cai, Ye, Zhan, Liu, IJCV
2024, arXiv 2303.07338) and RanPAC (NeurIPS 2023) begin in the same way. A pretrained network is
fitted to the stream's domain once, on the base session, and never again:

    L = CE( s cos(W, f(x)), y )          s = scale;  f, W learn, W starts as the class means

`f` learns by low-rank adapters (`tune: lora`) or in its last blocks (`tune: blocks`). After the
last epoch `W` is dropped and `f` frozen. The rows of all classes then come from `head_rule`,
another strategy's rule with its own parameters:

    simple_cil                    class means, as in APER; with `concat` as its strongest form
    lda                           Panos et al., who also pool the covariance over sessions
    ranpac, c_ranpac              RanPAC and C-RanPAC whole
    teen, teen_whitened, klda     ours to combine

With `concat` a feature is the tuned one and, beside it, the untouched network's (APER). It costs a
second pass through the blocks that were tuned.

Differences from the papers:
    - Panos et al. tune FiLM layers or the whole network with a linear classifier; APER and RanPAC
      tune adapters, prompts, or scales and shifts with a cosine classifier.
    - The learning rate is chosen on the base session's training images, and no tuning at all is
      among the choices (`training.lr: auto`); theirs is fixed for all data sets.
    - The network after the last epoch is used. Nothing is selected on test data.
    - BatchNorm keeps its statistics, so a few images more or less do not move them.
    - A row of `W` starts as its class's mean, so few epochs suffice; theirs starts at random.

It pays far from the pretraining. On 62 Omniglot characters (12 base ones, ten shots each, DeiT-tiny
at 128 pixels, 20 epochs, bfloat16, seed 0) the run chose the rate 0.1. Average / last accuracy, %,
by head rule, on the untouched network and after tuning:

    simple_cil   40.3 / 44.4   56.0 / 57.0
    teen         33.7 / 34.9   54.0 / 53.2
    lda          51.1 / 56.2   68.3 / 71.5
    ranpac       46.1 / 51.3   63.4 / 66.7
    c_ranpac     42.8 / 47.0   59.5 / 61.6
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from cl_suite.errors import UserError, option
from cl_suite.methods.first_session import FirstSessionPlugin
from cl_suite.models.adapters import LoRASettings, lora_parameters
from cl_suite.models.classifier import Classifier
from cl_suite.models.encoder import Encoder, adapt
from cl_suite.models.first_token import read_first_token
from cl_suite.plugin import Above, Within


@dataclass(kw_only=True, eq=False)
class FSAPlugin(FirstSessionPlugin):
    """Tune a pretrained network on the base session alone; a head rule classifies from then on.

    Args:
        tune: what learns: low-rank adapters (lora), or the last blocks themselves (blocks).
        num_blocks: number of blocks, counted from the end, that get adapters or learn; -1: all.
        lora_rank: rank of the adapters.
        lora_alpha: adapters are scaled by alpha / rank.
        lora_dropout: dropout on the adapters' input.
        concat: put the untouched network's features beside the tuned ones.
    """

    tune: Literal["lora", "blocks"] = "lora"
    num_blocks: Annotated[int, Within(-1)] = -1
    lora_rank: Annotated[int, Within(1)] = 16
    lora_alpha: Annotated[float, Above(0)] = 16.0
    lora_dropout: Annotated[float, Within(0, 0.99)] = 0.0
    concat: bool = False

    def first_changed_block(self, model: nn.Module) -> int:
        encoder = Encoder(model)
        own = 0 if self.num_blocks < 0 else encoder.stages.num_blocks - self.num_blocks
        return max(own, encoder.num_frozen_blocks, 0)

    def add_parts(self, model: nn.Module) -> None:
        if self.concat and not isinstance(model, Classifier):
            raise UserError(
                f"{option('strategy.concat')} needs cl_suite's Classifier, got "
                f"{type(model).__name__}; build one by cl_suite.models.classifier, or leave it out"
            )
        first = self.first_changed_block(model)
        names: list[str] = []
        if self.tune == "lora":
            settings = LoRASettings(self.lora_rank, self.lora_alpha, self.lora_dropout)
            adapt(model, settings, None if self.num_blocks < 0 else self.num_blocks)
        else:
            encoder = Encoder(model)
            names = self._trained_names(encoder)
            encoder.body.requires_grad_(False)
            for name in names:
                encoder.body.get_parameter(name).requires_grad_(True)
            if self.num_blocks < 0 and not first:
                first = -1  # what is before the blocks learns too
        if isinstance(model, Classifier):
            read_first_token(model.backbone.body)
            if self.concat:
                self._keep_untouched(model, names, first)

    def _keep_untouched(self, model: Classifier, names: list[str], first: int) -> None:
        model.backbone.keep_untouched(names, first)
        old = model.head
        temperature = getattr(old, "temperature", 16.0)
        head = self.make_head(model.feature_dim, old.num_outputs, temperature)
        model.head = head.to(old.weight.device)

    def learning(self, encoder: Encoder) -> Iterable[nn.Parameter]:
        if self.tune == "lora":
            return lora_parameters(encoder.body).values()
        return [encoder.body.get_parameter(name) for name in self._trained_names(encoder)]

    def _trained_names(self, encoder: Encoder) -> list[str]:
        """Return the names of the encoder's tensors that learn if blocks do."""
        if self.num_blocks < 0:
            return encoder.names_from(-1)
        return encoder.names_from(max(encoder.stages.num_blocks - self.num_blocks, 0))
