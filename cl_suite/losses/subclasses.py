"""Subclasses of frequent classes and their temperatures, from features, for `sbcl_loss`.

Hou et al., "Subclass-balancing Contrastive Learning for Long-tailed Recognition", ICCV 2023, arXiv
2306.15925.

Ours: the clusters are those of plain k-means, whose sizes are equal on average alone, and a class
temperature is at least 0.001.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cl_suite.losses.clusters import cosine_clusters
from cl_suite.losses.inputs import check_labels, unit_rows


def subclasses(
    features: Tensor, labels: Tensor, *, smallest: int = 10, generator: torch.Generator
) -> Tensor:
    """Return subclass ids `(n,)`: class `c` has `max(1, n_c // max(rarest, smallest))` of them.

    They are clusters of its features by cosine.

    Args:
        features: `(n, dim)`.
        labels: `(n,)` class ids.
        smallest: lower bound on the size of a subclass.
        generator: see `cosine_clusters`.
    """
    check_labels(labels, features)
    classes, counts = torch.unique(labels, return_counts=True)
    size = max(int(counts.min()), smallest)
    ids, used = torch.zeros_like(labels), 0
    for class_id, count in zip(classes.tolist(), counts.tolist(), strict=True):
        members = labels == class_id
        parts = max(1, count // size)
        ids[members] = used + cosine_clusters(features[members], parts, generator=generator)
        used += parts
    return ids


def class_temperatures(
    features: Tensor, labels: Tensor, subclass_ids: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Return the temperature `(n,)` of each sample's class: wider classes have higher ones.

    With `phi_c = mean |z - m_c| / log(n_c + 10)`, clipped to its percentiles 20 and 80, it is
    `temperature phi_c / mean(phi)`. A class of one subclass keeps `temperature`; percentiles and
    mean are over all classes, such ones included.

    Args:
        features: `(n, dim)`; they are scaled to unit length.
        labels: `(n,)` class ids.
        subclass_ids: `(n,)` as `subclasses` returned them.
        temperature: of the mean class.
    """
    rows = unit_rows(features)
    classes, position = torch.unique(labels, return_inverse=True)
    widths, is_cut = [], []
    for number in range(len(classes)):
        members = rows[position == number]
        spread = (members - members.mean(dim=0)).norm(dim=1).mean()
        widths.append(spread / math.log(len(members) + 10))
        is_cut.append(len(torch.unique(subclass_ids[position == number])) > 1)
    width = torch.stack(widths)
    limits = torch.quantile(width, width.new_tensor([0.2, 0.8]))
    width = width.clamp(limits[0], limits[1])
    own = temperature * width / width.mean().clamp(min=1e-12)
    cut = torch.tensor(is_cut, device=rows.device)
    return torch.where(cut, own, torch.full_like(own, temperature)).clamp(min=1e-3)[position]
