"""Rehearsal with knowledge distillation from the network at the end of the last session.

The distillation baselines for continual spoken language understanding (Cappellazzo et al., arXiv
2305.13899 and 2211.08161), in the form of a classifier. The student is trained with cross-entropy
on new and kept samples, which are shuffled into the session's data as in the papers
(`replay: union`). `R` are a batch's samples of earlier sessions' classes; `f` are
features and `l` logits, with index `s` for the student and `t` for the teacher. One or more of
these terms are added:

    feature   mean_{R, coordinates} (f_s - f_t)^2                       "audio-KD"
    logit     T^2 mean_R KL( softmax(l_t / T) || softmax(l_s / T) )     "tok-KD", and the logit KD
              over the columns of the earlier sessions' classes         of the classifier
    label     mean_R CE( l_s, argmax l_t )                              "S-KD"

    alpha = ln(n_old / n_all + 1)
    L = (1 - alpha) L_CE + alpha L_KD           with one of them
    L = L_CE + alpha (L_KD + L_KD' ...)         with several

`n_old` counts the classes of earlier sessions, `n_all` these and the session's own. In the first
session, L is the cross-entropy.

Differences from the papers:
    - A classifier makes one decision, their decoder one for each token. So "logit" compares the
      distributions over classes instead of those over next tokens. "label" uses the teacher's
      class; theirs uses the sequence that a beam search finds.
    - Features are the classifier's inputs; theirs are the encoder's outputs.
    - The teacher runs in eval mode.
    - Their formula is for two terms; here it serves three as well.
    - The papers do not give the temperature for all experiments; 2 is what Li and Hoiem (2016) use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.methods.replay.rehearsal import RehearsalPlugin, Replay
from cl_suite.models.features import FeatureTap
from cl_suite.plugin import Template, Within, session_classes

Distill = Literal[
    "feature",
    "logit",
    "label",
    "feature+logit",
    "feature+label",
    "logit+label",
    "feature+logit+label",
]


@dataclass(kw_only=True, eq=False)
class KDReplayPlugin(RehearsalPlugin):
    """Cross-entropy on new and kept samples, and distillation on those of earlier classes.

    Args:
        distill: the teacher's output to match: feature, logit, label, or a sum of them.
        distill_temperature: temperature `T` of the logits.
    """

    replay: Replay = "union"
    distill: Distill = "logit"
    distill_temperature: Annotated[float, Within(1e-3)] = 2.0

    needs_teacher = True

    _tap: FeatureTap = field(init=False, repr=False)  # of the batch under way

    @property
    def terms(self) -> list[str]:
        """The names of the distillation terms."""
        return self.distill.split("+")

    @property
    def runs_network(self) -> bool:
        return True

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap = FeatureTap(template.model)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap.end()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        teacher = self.teacher(template)
        if teacher is None:
            return
        session = session_classes(template)
        weight = distillation_weight(len(self.old_classes), len({*self.old_classes, *session}))
        terms = self._terms(template, teacher)
        template.loss = combined(template.loss, terms, weight)

    def _terms(self, template: Template, teacher: nn.Module) -> list[Tensor]:
        rehearsed = self.is_old(template.mb_y)
        if not rehearsed.any():
            return [template.loss.new_zeros(()) for _ in self.terms]
        with torch.no_grad(), self._tap.autocast:
            features, logits = features_and_logits(teacher, template.mb_x[rehearsed])
        own_features, own_logits = self._tap.features[rehearsed], template.mb_output[rehearsed]
        old = self.old_classes
        found = {
            "feature": lambda: feature_distillation(own_features, features),
            "logit": lambda: logit_distillation(
                own_logits[:, old], logits[:, old], self.distill_temperature
            ),
            "label": lambda: label_distillation(own_logits, logits, old),
        }
        return [found[term]() for term in self.terms]


def distillation_weight(num_old: int, num_all: int) -> float:
    """Return `alpha`, which grows with the share of earlier classes, from 0 to ln 2.

    Example:
        >>> round(distillation_weight(3, 4), 6)
        0.559616
    """
    return math.log(num_old / num_all + 1)


def combined(cross_entropy: Tensor, terms: list[Tensor], weight: float) -> Tensor:
    """Return the sum of cross-entropy and one or more distillation terms, weighted."""
    share = 1 - weight if len(terms) == 1 else 1.0
    return share * cross_entropy + weight * torch.stack(terms).sum()


def feature_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of features `(batch, dim)`."""
    return F.mse_loss(student.float(), teacher.float())


def logit_distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return `T^2` times the divergence of the student's distribution from the teacher's.

    Args:
        student, teacher: logits `(batch, num_old)` of the same classes.
        temperature: `T`.
    """
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def label_distillation(student: Tensor, teacher: Tensor, old_classes: list[int]) -> Tensor:
    """Return the cross-entropy of the student's logits with the teacher's own predictions.

    Args:
        student: logits `(batch, num_outputs)` over all classes seen.
        teacher: logits of the same batch.
        old_classes: columns that the teacher has learned.
    """
    columns = torch.tensor(old_classes, device=teacher.device)
    predicted = columns[teacher[:, columns].argmax(dim=1)]
    return F.cross_entropy(student.float(), predicted)


def features_and_logits(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a batch's features `(batch, dim)` and logits `(batch, outputs)` from one pass."""
    tap = FeatureTap(model)
    try:
        logits: Tensor = model(x)
    finally:
        tap.end()
    return tap.features, logits
