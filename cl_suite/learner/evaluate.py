"""Measures a learner on a folder of class folders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch

from cl_suite.data.readers.class_folders import find_images
from cl_suite.errors import UserError
from cl_suite.learner.answers import Evaluation, Prediction
from cl_suite.learner.pictures import Skipped

BINS = 15


def evaluated(
    predict: Callable[[Sequence[Path]], Sequence[Prediction]],
    labels: Collection[str],
    folder: Path,
) -> Evaluation:
    """Return the figures of a learner on the pictures of a folder's class folders.

    Args:
        predict: returns the best class of each picture.
        labels: those that the learner knows.

    Raises:
        UserError: for a folder without class folders, or whatever `predict` raises.
    """
    images = find_images(folder, str(folder)).images
    found = {label: predict(paths) for label, paths in images.items()}
    evaluation = evaluation_of(found, labels)
    if not evaluation.num_pictures and not evaluation.num_strangers:
        raise UserError(f"folder '{folder}' has no picture that can be read")
    return evaluation


def evaluation_of(
    predictions: Mapping[str, Sequence[Prediction]], labels: Collection[str]
) -> Evaluation:
    """Return the figures of predictions, given by true class, for a learner of these labels."""
    known, strangers = [], []
    by_class: dict[str, tuple[int, int]] = {}
    skipped: list[Skipped] = []
    for label, all_found in predictions.items():
        skipped += [Skipped(one.name, one.error) for one in all_found if one.error is not None]
        found = [one for one in all_found if one.error is None]
        if label not in labels:
            strangers += found
            continue
        hits = [one.labels[0] == label for one in found]
        known += list(zip(found, hits, strict=True))
        by_class[label] = (len(hits), sum(hits))
    return Evaluation(
        num_pictures=len(known),
        num_right=sum(hit for _, hit in known),
        num_rejected=sum(one.is_unknown for one, _ in known),
        by_class=by_class,
        calibration_error=calibration_error([(p.probabilities[0], hit) for p, hit in known]),
        num_strangers=len(strangers),
        num_strangers_found=sum(one.is_unknown for one in strangers),
        auroc=_auroc([one for one, _ in known], strangers),
        skipped=tuple(skipped),
    )


def calibration_error(found: list[tuple[float, bool]]) -> float | None:
    """Return the expected calibration error of (probability, right) pairs, None without any."""
    if not found:
        return None
    from torchmetrics.functional.classification import binary_calibration_error

    probabilities = torch.tensor([probability for probability, _ in found])
    right = torch.tensor([int(hit) for _, hit in found])
    return float(binary_calibration_error(probabilities, right, n_bins=BINS, norm="l1"))


def _auroc(known: list[Prediction], strangers: list[Prediction]) -> float | None:
    if not known or not strangers:
        return None
    from sklearn.metrics import roc_auc_score

    scores = [one.familiarity for one in (*known, *strangers)]
    return float(roc_auc_score([1] * len(known) + [0] * len(strangers), scores))
