"""DER and DER++: online replay that matches the logits kept with each sample (dark experience).

Buzzega, Boschini, Porrello, Abati, Calderara, "Dark Experience for General Continual Learning: a
Strong, Simple Baseline", NeurIPS 2020, arXiv 2004.07211. The reservoir keeps each sample together
with the logits `z` that the network computed on its arrival. The loss pulls later logits towards
these; DER++ adds cross-entropy on another draw:

    L = CE(f(x), y) + alpha mean |f(x1) - z1|^2 + beta CE(f(x2), y2)        DER: beta = 0

`(x1, z1)` and `(x2, y2)` are drawn for each step without replacement, from the first session on.

Avalanche has DER as a separate template that owns the loop, not as a plugin. A YAML file can
therefore not choose it, and another strategy cannot wrap it.

Rows of classes to come (`head_rows`). The authors' classifier has a row for every class of the
stream from the start. Cross-entropy pushes the logits of classes to come down on every sample, and
the samples kept carry these low logits. So a later class starts low, and the distance keeps it low
on old samples. This is the default, `all`, because the papers' figures rest on it: on split
CIFAR-10 DER++ forgets more without it (`benchmarks/replay.py`). It needs the number of
classes to come, which a stream of the suite tells the head, and a class to come can be predicted
before it is learned. With `seen`, rows are added with the classes. A sample then has no logit for
classes that came after it, and the mean is over the logits that were kept. A network that is not a
`Classifier` has the rows that it has.

Differences from the authors' code:
    - The stream's batch and the two draws go through the network together (`passes: joint`).
      Theirs is `separate`: three passes, so that BatchNorm normalises the stream's batch, which
      has only new classes, by statistics that differ from those of a test. Test accuracies on
      split CIFAR-10 led to this choice (`docs/guides/replay.md`).
    - With more than one epoch each sample is offered to the reservoir once, in the last epoch, so
      its logits are those of a trained network; theirs is offered it in every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch.nn.functional as F

from cl_suite.methods.replay.exemplars import Extras
from cl_suite.methods.replay.logits import LOGITS, logit_distance, padded, widen
from cl_suite.methods.replay.online import OnlineReplayPlugin
from cl_suite.plugin import Requirements, Template, Within


@dataclass(kw_only=True, eq=False)
class DERPlugin(OnlineReplayPlugin):
    """Replay from a reservoir towards the logits kept, and towards the labels.

    Args:
        buffer: number of samples kept.
        replay_batch: maximum number of samples drawn from them per step for each of the two terms.
        alpha: weight of the squared distance to the logits kept.
        beta: weight of the cross-entropy of replayed samples; 0: DER, above 0: DER++.
        head_rows: classes that the classifier has from the start: all of the stream, as the
            authors' has; or those seen so far.
    """

    buffer: Annotated[int, Within(1)] = 500
    replay_batch: Annotated[int, Within(1)] = 10
    alpha: Annotated[float, Within(0)] = 0.2
    beta: Annotated[float, Within(0)] = 0.5
    head_rows: Literal["all", "seen"] = "all"
    num_logits_: int = field(default=0, init=False)  # number of columns of the logits kept

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # parameters decide
        """A row for each class of the stream, if that is chosen."""
        return replace(OnlineReplayPlugin.requirements, all_rows=self.head_rows == "all")

    def num_draws(self, template: Template) -> int:
        return (self.alpha > 0) + (self.beta > 0)

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        if not self.buffer_.num_samples:
            return
        if self.alpha:
            logits, _, extras = self.replay(template)
            template.loss = template.loss + self.alpha * logit_distance(logits, extras[LOGITS])
        if self.beta:
            logits, labels, _ = self.replay(template)
            template.loss = template.loss + self.beta * F.cross_entropy(logits, labels)

    def is_offered(self, template: Template) -> bool:
        last: bool = template.clock.train_exp_epochs == template.train_epochs - 1
        return last

    def extras(self, template: Template) -> Extras:
        logits = template.mb_output.detach().float()
        if logits.shape[1] > self.num_logits_:
            # the head of a bare program widens during training
            self.num_logits_ = logits.shape[1]
            widen(self.buffer_.exemplars, self.num_logits_)
        return {LOGITS: padded(logits, self.num_logits_)}
