"""The training pictures that look most like a picture, among those kept of its best classes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cl_suite.learner.records import State

CLASSES = 5  # of the best, so that the cost does not grow with their number


@dataclass(frozen=True)
class Neighbour:
    """A training picture.

    Attributes:
        label: its class.
        similarity: cosine of its feature and the picture's.
        picture: a small JPEG as a data URL.
    """

    label: str
    similarity: float
    picture: str


def nearest(state: State, feature: Tensor, labels: Sequence[str], most: int) -> list[Neighbour]:
    """Return the nearest training pictures of some classes, nearest first.

    Args:
        feature: `(dim,)`, of the picture.
        labels: its best classes, best first.
        most: number of pictures.
    """
    found: list[tuple[str, bytes]] = []
    features = []
    for label in labels[:CLASSES]:
        kept = state.records[label].kept
        rows = [row for row, thumbnail in enumerate(kept.thumbnails) if thumbnail]
        found += [(label, kept.thumbnails[row]) for row in rows]
        features.append(kept.features[rows])
    if not found or most < 1:
        return []
    cosines = normalize(torch.cat(features), dim=1) @ normalize(feature, dim=0)
    best = cosines.topk(min(most, len(found)))
    return [
        Neighbour(found[row][0], max(-1.0, min(1.0, cosine)), _data_url(found[row][1]))
        for row, cosine in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
