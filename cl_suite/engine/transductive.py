"""A classifier whose prototypes are moved by the unlabelled test samples, if the user asks for it.

A prediction then depends on the other test samples, so such a run is marked wherever it is shown.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.features.refine import Assignment, refined
from cl_suite.models.heads.class_head import ClassHead, CosineHead


def check_head(head: ClassHead) -> None:
    """Raise `UserError` for a head whose rows are no prototypes that a cosine compares with."""
    if not isinstance(head, CosineHead):
        raise UserError(
            f"{option('evaluation.transductive')} moves the prototypes of a cosine classifier, and "
            f"this strategy's classifier is a {type(head).__name__}; choose one such as "
            "simple_cil, teen or teen_whitened, or leave the option out"
        )


@torch.no_grad()
def refined_head(
    head: ClassHead, features: Tensor, counts: Mapping[int, int], assignment: Assignment
) -> ClassHead:
    """Return a copy of a head with refined prototypes; the head itself stays.

    Args:
        features: `(n, dim)` of the unlabelled samples.
        counts: training samples of each class id.
        assignment: see `cl_suite.features.refine`.
    """
    check_head(head)
    twin = copy.deepcopy(head)
    behind = torch.tensor([float(counts.get(c, 1)) for c in head.classes], device=features.device)
    rows = refined(head.weight.detach(), head.transformed(features), behind, assignment)
    twin.weight = nn.Parameter(rows, requires_grad=False)
    return twin
