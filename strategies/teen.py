"""TEEN: Training-frEE prototype calibratioN (Wang et al., NeurIPS 2023, arXiv 2312.05229).

A network trained on the base classes ranks base classes sensibly by their similarity to a new one,
but mistakes most images of new classes for base classes. TEEN therefore pulls each few-shot
prototype towards the base prototypes that resemble it. Nothing is trained after the base session.

With unit-length prototypes `u`, for each new class `n` of a session and base class `b`:

    w_nb = softmax_b( tau_s  u_n . u_b )          tau_s   = softmax_t
    D_n  = sum_b w_nb u_b,   D'_n = D_n / |D_n|
    W_n  = (1 - alpha_s) u_n + alpha_s D'_n       alpha_s = shift_weight

Only base prototypes attract. Base training is cross-entropy on a cosine classifier, whose rows the
class means then replace.

Differences from the authors' code, none of which changes a row for given features:
    - the base network is the one after the last epoch; theirs is from the epoch that is best on the
      test set, and the base accuracy they report is the better of two classifiers;
    - accuracy is hits over images; theirs averages batches of unequal size;
    - `shift_weight` has one default; they chose a value for each data set on test results;
    - the paper's formula does not normalise `D`, the code does: `normalize_delta` offers both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from cl_suite.features.calibrators import calibrate_directions as calibrate
from cl_suite.features.stats import ClassStats
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import Template, Within
from cl_suite.strategies.prototype import PrototypePlugin

__all__ = ["TEENPlugin", "calibrate"]


@dataclass(kw_only=True, eq=False)
class TEENPlugin(PrototypePlugin):
    """Class means as prototypes; base classes calibrate those of few-shot sessions.

    Args:
        softmax_t: sharpness of the weights over base classes, `tau_s` in the paper's code.
        shift_weight: share of the base part in a calibrated prototype, `alpha_s`, in [0, 1].
        normalize_delta: scale the base part to unit length before mixing.
        normalize_features: scale features to unit length before averaging.
    """

    softmax_t: Annotated[float, Within(0)] = 16.0
    shift_weight: Annotated[float, Within(0, 1)] = 0.5
    normalize_delta: bool = True

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        is_base = not self.base_classes_
        classes = super().learn(template, head)
        if is_base and len(classes) == 1:
            warnings.warn(
                "the base session has one class: TEEN pulls every new class towards it",
                stacklevel=2,
            )
        return classes

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        if not self.base_classes_:
            return stats.mean
        return calibrate(
            stats.mean,
            head.rows(self.base_classes_).double(),
            softmax_t=self.softmax_t,
            shift_weight=self.shift_weight,
            normalize_delta=self.normalize_delta,
        )
