"""Keys of the classes, moved by unlabelled pictures that probably belong to them."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.features.refine import refined
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table
from cl_suite.models.heads.class_head import CosineHead


def moved(rule: Rule, table: Table, state: State, features: Tensor, scale: float) -> Tensor:
    """Return the keys `(num_classes, width)` of a state's classes after iterative adaptation.

    A class of many pictures moves less than one of few. See `cl_suite.features.refine`.

    Args:
        table: up to date with the state.
        features: `(n, dim)` of the unlabelled pictures.
        scale: factor on cosines at which their softmax is calibrated. A fixed one is too soft where
            all features lie in a narrow cone, and then draws all classes to the centre.

    Raises:
        UserError: if the rule does not compare by cosine.
    """
    if not isinstance(rule.head, CosineHead):
        raise UserError(
            f"unlabelled pictures move the prototypes of a classifier by cosine, and rule "
            f"'{rule.name}' has none; leave them out, or start with rule simple_cil, teen or "
            "teen_whitened"
        )
    queries = table.query(features)
    counts = torch.tensor([float(record.count) for record in state.records.values()])
    counts = counts.to(queries.device)
    return refined(table.keys, queries, counts, "softmax", sharpness=scale)
