"""The losses that pretraining may use, by name, each with the settings of its paper.

A setting that no paper gives is ours, and its class says so.

Distillation from an earlier session (`sycon`) and losses of two modalities have no place in a first
session of one modality, so they have no recipe.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from cl_suite.errors import UserError, suggestion
from cl_suite.methods.contrastive.long_tails import FASSL, GML, SBCL
from cl_suite.methods.contrastive.recipe import ContrastRecipe
from cl_suite.methods.contrastive.stages import MCL
from cl_suite.methods.contrastive.two_views import (
    CWCL,
    DCL,
    MACL,
    DecoupledUniformity,
    InfoNCE,
    Nonnegative,
    NTXent,
)
from cl_suite.methods.contrastive.with_labels import NSPT, ClassMean, SupCon
from cl_suite.methods.contrastive.with_queues import ASCL, MoCo
from cl_suite.parameters import check_parameters

LossName = Literal[
    "supcon",
    "class_mean",
    "nspt",
    "sbcl",
    "gml",
    "nt_xent",
    "info_nce",
    "dcl",
    "macl",
    "moco",
    "ascl",
    "cwcl",
    "mcl",
    "nonnegative",
    "decoupled_uniformity",
    "fassl",
]


RECIPES: Mapping[str, type[ContrastRecipe]] = {
    "supcon": SupCon,
    "class_mean": ClassMean,
    "nspt": NSPT,
    "sbcl": SBCL,
    "gml": GML,
    "nt_xent": NTXent,
    "info_nce": InfoNCE,
    "dcl": DCL,
    "macl": MACL,
    "moco": MoCo,
    "ascl": ASCL,
    "cwcl": CWCL,
    "mcl": MCL,
    "nonnegative": Nonnegative,
    "decoupled_uniformity": DecoupledUniformity,
    "fassl": FASSL,
}


def make_recipe(loss: str, params: Mapping[str, Any]) -> ContrastRecipe:
    """Return a loss with some of its settings changed.

    Raises:
        UserError: for an unknown setting, or a value out of its range.
    """
    cls = RECIPES[loss]
    known = list(inspect.signature(cls).parameters)
    for name in params:
        if name not in known:
            raise UserError(
                f"loss_params.{name} of loss '{loss}' is unknown{suggestion(name, known)}"
            )
    check_parameters(cls, params, "loss_params.")
    return cls(**params)
