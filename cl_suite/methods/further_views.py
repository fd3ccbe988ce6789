"""Features of a session's samples in further views, drawn by the training transform."""

from __future__ import annotations

import torch
from torch import Tensor

from cl_suite.avalanche.loader import batches
from cl_suite.features.stats import extract
from cl_suite.models.features import feature_function
from cl_suite.models.modes import evaluating
from cl_suite.plugin import Template


def further_views(template: Template, rows: Tensor, num: int) -> list[Tensor]:
    """Return the features `(len(rows), dim)` of these samples in each of `num` further views.

    They equal those at hand if the training transform is not random, as with a feature bank without
    `--model.bank_views`.

    Args:
        rows: of the session's training samples.
    """
    data = template.experience.dataset.train().subset(rows.tolist())
    found = []
    with evaluating(template.model), torch.no_grad():
        for _ in range(num):
            loader = batches(data, template.eval_mb_size)
            network = feature_function(template.model)
            found.append(extract(network, loader, device=template.device)[0])
    return found
