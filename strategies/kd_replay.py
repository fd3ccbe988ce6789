"""Rehearsal with knowledge distillation from the network at the end of the last session.

The methods of two papers by Cappellazzo et al., for a classifier. The earlier paper classifies
intents ("An Investigation of the Combination of Rehearsal and Knowledge Distillation in Continual
Learning for Spoken Language Understanding", arXiv 2211.08161). The later one predicts sequences
("Sequence-Level Knowledge Distillation for Class-Incremental End-to-End Spoken Language
Understanding", arXiv 2305.13899). The student is trained with cross-entropy on new and kept
samples, which are shuffled into the session's data as in the papers (`replay: union`). `B` is a
batch, `R` its samples of earlier sessions' classes; `f` are features and `l` logits, with index `s`
for the student and `t` for the teacher in eval mode. One or more of these terms are added:

    feature   mean_{R, coordinates} (f_s - f_t)^2                       both; "audio-KD"
    logit     T^2 mean_R KL( softmax(l_t / T) || softmax(l_s / T) )     both; "tok-KD", here over
              over the columns of the earlier sessions' classes         classes instead of tokens
    label     mean_R CE( l_s, argmax l_t )                              the later; "S-KD"

The weight `w` of distillation (`distill_weight`):

    rehearsed   w = sqrt(|R| / |B|)         of the earlier paper's program, for terms over `R`
    classes     w = ln(n_old / n_all + 1)   of the same program for terms over all of `B`; that the
                                            later paper takes it for terms over `R` is reconstructed

`n_old` counts the classes of earlier sessions, `n_all` these and the session's own. The form of the
sum (`distill_form`):

    earlier     L = (1 - w) L_CE + w L_KD                   with one term
                L = (1 - w) L_CE + w (L_KD + L_KD' ...)     with several
                logit is a mean over classes too: its KL is divided by `n_old`
    later       L = (1 - w) L_CE + w L_KD                   with one term
                L = L_CE + w (L_KD + L_KD' ...)             with several; reconstructed

In the first session, L is the cross-entropy. The earlier paper as its program has it is
`distill_weight: rehearsed`, `distill_form: earlier`, `distill_temperature: 1`. The defaults are the
later paper's as far as it is known; no program of it was found.

Differences from the papers:
    - A classifier makes one decision, the later paper's decoder one for each token. So "logit"
      compares the distributions over classes instead of those over next tokens. "label" uses the
      teacher's class; theirs uses the sequence that a beam search finds.
    - Features are the classifier's inputs; the later paper's are the encoder's outputs.
    - Distillation on all samples of a batch, which the earlier paper tries too, is not offered.
    - The earlier program sends `R` through the student once more for its features, which differs
      if BatchNorm is in train mode.
    - The earlier paper has no "label", and neither paper sums three terms.
    - The program's temperature is 1; the later paper's is not known. The default, 2, is what Li and
      Hoiem (2016) use.
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
DistillWeight = Literal["classes", "rehearsed"]
DistillForm = Literal["later", "earlier"]


@dataclass(kw_only=True, eq=False)
class KDReplayPlugin(RehearsalPlugin):
    """Cross-entropy on new and kept samples, and distillation on those of earlier classes.

    Args:
        distill: the teacher's output to match: feature, logit, label, or a sum of them.
        distill_temperature: temperature `T` of the logits; 1 in the earlier paper's program.
        distill_weight: weight of distillation: classes, ln(n_old / n_all + 1), or rehearsed,
            sqrt(|R| / |B|), the earlier paper's.
        distill_form: form of the sum: later, or earlier (the earlier paper's: cross-entropy gives
            up its share whatever the number of terms, and logit is a mean over classes too).
    """

    replay: Replay = "union"
    distill: Distill = "logit"
    distill_temperature: Annotated[float, Within(1e-3)] = 2.0
    distill_weight: DistillWeight = "classes"
    distill_form: DistillForm = "later"

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
        rehearsed = self.is_old(template.mb_y)
        if self.distill_weight == "rehearsed":
            weight = rehearsed_weight(int(rehearsed.sum()), len(rehearsed))
        else:
            classes = {*self.old_classes, *session_classes(template)}
            weight = class_weight(len(self.old_classes), len(classes))
        terms = self._terms(template, teacher, rehearsed)
        template.loss = combined(template.loss, terms, weight, self.distill_form)

    def _terms(self, template: Template, teacher: nn.Module, rehearsed: Tensor) -> list[Tensor]:
        if not rehearsed.any():
            return [template.loss.new_zeros(()) for _ in self.terms]
        with torch.no_grad(), self._tap.autocast:
            features, logits = features_and_logits(teacher, template.mb_x[rehearsed])
        own_features, own_logits = self._tap.features[rehearsed], template.mb_output[rehearsed]
        old = self.old_classes
        found = {
            "feature": lambda: feature_distillation(own_features, features),
            "logit": lambda: logit_distillation(
                own_logits[:, old], logits[:, old], self.distill_temperature, self.distill_form
            ),
            "label": lambda: label_distillation(own_logits, logits, old),
        }
        return [found[term]() for term in self.terms]


def class_weight(num_old: int, num_all: int) -> float:
    """Return `w` by classes, which grows with the share of earlier classes, from 0 to ln 2.

    Example:
        >>> round(class_weight(3, 4), 6)
        0.559616
    """
    return math.log(num_old / num_all + 1)


def rehearsed_weight(num_rehearsed: int, num_samples: int) -> float:
    """Return `w` by samples, which grows with the share of rehearsed ones in a batch, from 0 to 1.

    Example:
        >>> rehearsed_weight(4, 16)
        0.5
    """
    return math.sqrt(num_rehearsed / num_samples)


def combined(
    cross_entropy: Tensor, terms: list[Tensor], weight: float, form: DistillForm = "later"
) -> Tensor:
    """Return the sum of cross-entropy and one or more distillation terms, weighted."""
    share = 1 - weight if form == "earlier" or len(terms) == 1 else 1.0
    return share * cross_entropy + weight * torch.stack(terms).sum()


def feature_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of features `(batch, dim)`."""
    return F.mse_loss(student.float(), teacher.float())


def logit_distillation(
    student: Tensor, teacher: Tensor, temperature: float, form: DistillForm = "later"
) -> Tensor:
    """Return `T^2` times the divergence of the student's distribution from the teacher's.

    Args:
        student, teacher: logits `(batch, num_old)` of the same classes.
        temperature: `T`.
        form: later, a mean over samples, or earlier, a mean over samples and classes.
    """
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    if form == "earlier":
        divergence = divergence / student.shape[1]
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
