"""ER-ACE: experience replay with an asymmetric cross-entropy, online.

Caccia, Aljundi, Asadi, Tuytelaars, Pineau, Belilovsky, "New Insights on Reducing Abrupt
Representation Change in Online Continual Learning", ICLR 2022, arXiv 2104.05025. New classes, rated
against the old ones whose samples are missing in the batch, push the old ones' features around. So
a stream batch is rated among its own and unseen classes alone, and the replay batch among all:

    L = CE(logits(x) on C, y) + CE(logits(x_b), y_b),   C = {classes in y} + {classes never seen}

Replay batches are drawn for each step without replacement from a reservoir, from the second
session on; the first session has neither mask nor replay. The recipe of the YAML file is the
authors' online one: each sample is seen once, in batches of 10 with 10 replayed, by plain SGD.

Avalanche has ER-ACE as a template of its own, which owns the loop, not as a plugin, so it can be
neither chosen by a YAML file nor wrapped by another strategy. Its criterion leaves unseen classes
out of `C`.

Differences from the authors' code:
    - Unseen classes are a set; theirs are the indices from the largest class seen on, itself
      included, which is another thing where classes arrive in shuffled order.
    - The head has rows for the classes met so far and those of the session under way alone, so the
      unseen classes in `C` are those of this session that no batch has had yet.
    - With more than one epoch each sample is still shown to the reservoir once, in the first.
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
    """Replay from a reservoir; the stream's loss does not rate absent old classes.

    Args:
        buffer: number of samples kept.
        replay_batch: samples drawn from them in a step, at most.
    """

    buffer: Annotated[int, Within(1)] = 500
    replay_batch: Annotated[int, Within(1)] = 10
    seen_: Tensor | None = field(default=None, init=False)  # (class ids,) bool

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        logits, labels = template.mb_output.float(), template.mb_y
        self.seen_ = with_seen(self.seen_, labels, logits.shape[1])
        if template.experience.current_experience == 0:
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
    """Return which class ids `(num_outputs,)` were seen, those of `labels` now too."""
    known = torch.zeros(num_outputs, dtype=torch.bool, device=labels.device)
    if seen is not None:
        known[: len(seen)] = seen.to(known.device)
    known[labels] = True
    return known


def only_rated(logits: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
    """Return the logits `(batch, classes)` with the lowest value for seen classes not in the batch.

    Args:
        labels: `(batch,)`.
        seen: `(classes,)` bool, which classes any batch has had so far.
    """
    rated = ~seen
    rated[labels] = True
    return logits.masked_fill(~rated, torch.finfo(logits.dtype).min)
