"""ER-ACE: experience replay with an asymmetric cross-entropy, online.

Caccia, Aljundi, Asadi, Tuytelaars, Pineau, Belilovsky, "New Insights on Reducing Abrupt
Representation Change in Online Continual Learning", ICLR 2022, arXiv 2104.05025. If new classes
compete with old ones whose samples are missing in the batch, they displace the old ones' features.
So the softmax of a stream batch covers only its own and unseen classes, that of a replay batch all:

    L = CE(logits(x) on C, y) + CE(logits(x_b), y_b),   C = {classes in y} + {classes never seen}

Replay batches are drawn for each step without replacement from a reservoir, from the second
session on; the first session has neither mask nor replay. The YAML file holds the authors' online
recipe: plain SGD sees each sample once, in batches of 10 with 10 replayed.

Avalanche has ER-ACE as a separate template that owns the loop, not as a plugin. A YAML file can
therefore not choose it, and another strategy cannot wrap it. Its criterion leaves unseen classes
out of `C`.

Differences from the authors' code:
    - The stream's batch and the replayed one go through the network together (`passes: joint`).
      Theirs is `separate`: BatchNorm then normalises the stream's batch, which has only new
      classes, by statistics that differ from those of a test. Test accuracies on split CIFAR-10
      led to this choice (`docs/guides/replay.md`).
    - Unseen classes are a set. Theirs are the indices from the largest class seen on, itself
      included, which differs if classes arrive in shuffled order.
    - The head has rows only for the classes met so far and those of the current session, so the
      unseen classes in `C` are those of this session that no batch has had yet.
    - With more than one epoch each sample is still offered to the reservoir once, in the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.methods.replay.online import OnlineReplayPlugin
from cl_suite.plugin import Template, Within


@dataclass(kw_only=True, eq=False)
class ERACEPlugin(OnlineReplayPlugin):
    """Replay from a reservoir; the stream's loss leaves absent old classes out of its softmax.

    Args:
        buffer: number of samples kept.
        replay_batch: maximum number of samples drawn from them per step.
    """

    buffer: Annotated[int, Within(1)] = 500
    replay_batch: Annotated[int, Within(1)] = 10
    seen_: Tensor | None = field(default=None, init=False)  # (class ids,) bool

    def num_draws(self, template: Template) -> int:
        return int(template.clock.train_exp_counter > 0)

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        logits, labels = template.mb_output.float(), template.mb_y
        self.seen_ = with_seen(self.seen_, labels, logits.shape[1])
        if template.clock.train_exp_counter == 0:
            return
        loss = F.cross_entropy(only_rated(logits, labels, self.seen_), labels)
        if self.buffer_.num_samples:
            old_logits, old_labels, _ = self.replay(template)
            loss = loss + F.cross_entropy(old_logits, old_labels)
        template.loss = loss

    def is_offered(self, template: Template) -> bool:
        first: bool = template.clock.train_exp_epochs == 0
        return first


def with_seen(seen: Tensor | None, labels: Tensor, num_outputs: int) -> Tensor:
    """Return which class ids `(num_outputs,)` were seen, now including those of `labels`."""
    known = torch.zeros(num_outputs, dtype=torch.bool, device=labels.device)
    if seen is not None:
        known[: len(seen)] = seen.to(known.device)
    known[labels] = True
    return known


def only_rated(logits: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
    """Return the logits `(batch, classes)` with the lowest value for seen classes not in the batch.

    Args:
        labels: `(batch,)`.
        seen: `(classes,)` bool, classes that any batch has had so far.
    """
    rated = ~seen
    rated[labels] = True
    return logits.masked_fill(~rated, torch.finfo(logits.dtype).min)
