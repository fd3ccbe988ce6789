"""How far a classifier's probabilities can be trusted after a session, before and after scaling.

Probabilities are the softmax over all classes seen. The temperature is one factor on the logits,
fitted to the training samples of the sessions so far, never to test samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import UNLABELLED
from cl_suite.engine.measuring import Measuring
from cl_suite.features.source import Batches
from cl_suite.metrics.confidence import (
    brier_score,
    calibration_curve,
    calibration_error,
    log_loss,
)
from cl_suite.models.heads.scale import fitted_scale
from cl_suite.models.modes import evaluating


@torch.no_grad()
def confidence(measuring: Measuring, session: int) -> dict[str, Any]:
    """Return the figures of confidence after a session, over the test samples of all sessions.

    Returns:
        `session`, `scale` (the factor fitted), and of the probabilities as they are and with the
        prefix `scaled_`: `ece` (bins of equal width), `ece_mass`, `log_loss`, `brier` and `bins`, a
        list of samples, mean confidence and accuracy of each bin, the latter None without samples.
    """
    sessions = range(session + 1)
    with evaluating(measuring.model):
        known = _scores(measuring, measuring.features.batches(sessions, "train"), session)
        tested = _scores(measuring, measuring.features.batches(sessions, "test"), session)
    scale = fitted_scale(*known, default=1.0)
    scaled = _figures(scale * tested[0], tested[1])
    return {
        "session": session,
        "scale": scale,
        **_figures(*tested),
        **{f"scaled_{name}": value for name, value in scaled.items()},
    }


def _scores(measuring: Measuring, parts: Sequence[Batches], session: int) -> tuple[Tensor, Tensor]:
    """Return logits `(n, num_seen)` in float64 over the classes seen, and columns `(n,)`."""
    seen = sorted({c for own in measuring.session_classes[: session + 1] for c in own})
    place = {class_id: column for column, class_id in enumerate(seen)}
    batches = [batch for part in parts for batch in part]
    logits = [measuring.model.head(features)[:, seen].double().cpu() for features, *_ in batches]
    labels = torch.cat([batch[1].cpu() for batch in batches])
    known = labels != UNLABELLED
    columns = torch.tensor([place[label] for label in labels[known].tolist()])
    return torch.cat(logits)[known], columns


def _figures(logits: Tensor, columns: Tensor) -> dict[str, Any]:
    log_probabilities = logits.log_softmax(dim=1)
    probabilities = log_probabilities.exp().numpy()
    confidences, own = probabilities.max(1), columns.numpy()
    hits = (logits.argmax(1) == columns).double().numpy()
    return {
        "ece": calibration_error(confidences, hits),
        "ece_mass": calibration_error(confidences, hits, kind="mass"),
        "log_loss": log_loss(log_probabilities.numpy(), own),
        "brier": brier_score(probabilities, own),
        "bins": [
            [each.num, each.confidence, each.accuracy] if each.num else [0, None, None]
            for each in calibration_curve(confidences, hits)
        ],
    }
