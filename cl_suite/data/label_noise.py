"""Wrong training labels: some samples of each class get the label of another class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cl_suite.data.cut import rows_by_class
from cl_suite.data.samples import Samples
from cl_suite.data.transforms import Transform

LOOKED_AT = 20  # samples of a class that give its mean


def noisy_labels(
    targets: Sequence[int],
    share: float,
    wrong: Mapping[int, Sequence[int]],
    seed: Sequence[int] = (0,),
) -> list[int]:
    """Return labels of which a share is wrong.

    Of each class `share * n` samples get a wrong label, on average over seeds where that is no
    whole number. One sample at least keeps the right label, so no class is lost.

    Args:
        targets: the right labels.
        share: share of each class, in [0, 1).
        wrong: labels that a sample of each class may get, each as likely; a class without such
            labels keeps its own.

    Example:
        >>> noisy_labels([3, 3, 3, 3, 7], 0.5, {3: [7], 7: [3]})
        [7, 3, 3, 7, 7]
    """
    labels = list(targets)
    for class_id, rows in sorted(rows_by_class(targets).items()):
        if not wrong.get(class_id):
            continue
        generator = np.random.default_rng([*seed, class_id])
        num = min(int(share * len(rows) + generator.random()), len(rows) - 1)
        for i in generator.permutation(len(rows))[:num]:
            labels[rows[i]] = int(generator.choice(wrong[class_id]))
    return labels


def others(classes: Sequence[int]) -> dict[int, list[int]]:
    """Return for each class all other classes: symmetric noise.

    Example:
        >>> others([4, 2, 9])
        {4: [2, 9], 2: [4, 9], 9: [4, 2]}
    """
    return {c: [other for other in classes if other != c] for c in classes}


def nearest(samples: Samples, prepare: Transform) -> dict[int, list[int]]:
    """Return for each class the one whose mean input is nearest, in a list; none for a lone class.

    A mean is that of the first `LOOKED_AT` prepared inputs of the class, without any network.

    Args:
        samples: labelled samples.
        prepare: maps a raw sample to the model's input.
    """
    rows = rows_by_class(samples.targets)
    classes = list(rows)
    if len(classes) < 2:
        return {}
    means = torch.stack([_mean(samples, rows[c][:LOOKED_AT], prepare) for c in classes])
    distances = torch.cdist(means, means).fill_diagonal_(float("inf"))
    return {c: [classes[i]] for c, i in zip(classes, distances.argmin(dim=1).tolist(), strict=True)}


def _mean(samples: Samples, rows: Sequence[int], prepare: Transform) -> Tensor:
    return torch.stack([prepare(samples[row][0]).flatten() for row in rows]).mean(dim=0)
