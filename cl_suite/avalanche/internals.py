"""Reads the private structure of Avalanche's data sets to find the suite's samples in them.

A data set is a tree of nodes, some with transforms; its leaves are the suite's samples. These
functions find the leaves, so we can slice whole batches from tensors and store samples raw. They
read underscored names of avalanche-lib 0.6: test a new release here first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cl_suite.avalanche.quick_import import quick_import
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.transforms import Transform

with quick_import():
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.benchmarks.utils.data import _FlatDataWithTransform
    from avalanche.benchmarks.utils.flat_data import FlatData
    from avalanche.benchmarks.utils.transform_groups import EmptyTransformGroups, TransformGroups

Rows = npt.NDArray[np.int64]
# a leaf, rows `(n,)` in it, and the nodes with transforms above it, outermost first
Leaf = tuple[Any, Rows, tuple[Any, ...]]


class SampleTransforms(TransformGroups):  # type: ignore[misc]  # avalanche has no types
    """Transform groups that remember the transforms themselves, so whole batches can use them.

    Attributes:
        inputs: the transforms by group; a group whose transform was replaced later is left out.
    """

    def __init__(self, train: Transform, eval: Transform) -> None:
        self.inputs = {"train": train, "eval": eval}
        super().__init__({"train": (train, None), "eval": (eval, None)})

    def __setitem__(self, group: str, transform: Any) -> None:
        # the library changes a copy, which shares `inputs` with its original
        self.inputs = {name: t for name, t in self.inputs.items() if name != group}
        super().__setitem__(group, transform)


def transform_group(data: AvalancheDataset[Any]) -> str:
    """Return the active transform group, `train` or `eval`."""
    group: str = data._flat_data._transform_groups.current_group
    return group


def with_train_transform(
    data: AvalancheDataset[Any], transform: Transform
) -> AvalancheDataset[Any]:
    """Return one of the suite's data sets with another training transform for all its samples.

    The evaluation transform and the active group do not change.

    Raises:
        ValueError: if some of the data was not made by the suite.
    """
    changed: AvalancheDataset[Any] = data._shallow_clone_dataset()
    changed._flat_data = _with_train_transform(changed._flat_data, transform)
    return changed


def _with_train_transform(node: FlatData[Any], transform: Transform) -> FlatData[Any]:
    changed = copy.copy(node)
    own = node._transform_groups if isinstance(node, _FlatDataWithTransform) else None
    if isinstance(own, SampleTransforms) and "eval" in own.inputs:
        # the nodes below have no transforms: see `resolve`
        groups = SampleTransforms(transform, own.inputs["eval"])
        groups.current_group = own.current_group
        changed._transform_groups = groups
        return changed
    known = own is None or _is_empty(own)
    if not known or not all(isinstance(part, FlatData) for part in node._datasets):
        raise ValueError("the data set was not made by cl-suite: its transforms are unknown")
    changed._datasets = [_with_train_transform(part, transform) for part in node._datasets]
    return changed


def resolve(data: AvalancheDataset[Any]) -> list[tuple[TensorSamples, Transform, Tensor]] | None:
    """Return the tensors behind a data set, so whole batches can be sliced from them.

    Returns:
        A list of (samples, active transform, rows `(n,)` in them) that covers the data set in
        order; or None if some of it is not in memory or its transforms are not ours.
    """
    if not isinstance(data, AvalancheDataset):
        return None
    group = transform_group(data)
    found: list[tuple[TensorSamples, Transform, list[Rows]]] = []
    for samples, rows, nodes in _leaves(data._flat_data, np.arange(len(data))):
        transform = _transform_in_force(nodes, group)
        if not isinstance(samples, TensorSamples) or transform is None or not transform.batched:
            return None
        if not found or found[-1][0] is not samples or found[-1][1] is not transform:
            found.append((samples, transform, []))
        found[-1][2].append(rows)
    return [(s, transform, torch.from_numpy(np.concatenate(r))) for s, transform, r in found]


def raw_rows(
    data: AvalancheDataset[Any], rows: Sequence[int]
) -> tuple[list[tuple[Samples, int]], tuple[Transform, Transform]] | None:
    """Return the location of some samples (at least one) of a data set before any transform.

    Returns:
        (samples, row in them) for each of `rows`, and their common training and evaluation
        transforms; or None if a sample or its transforms are not ours.
    """
    if not isinstance(data, AvalancheDataset):
        return None
    places: list[tuple[Samples, int]] = []
    transforms: tuple[Transform, Transform] | None = None
    for samples, within, nodes in _leaves(data._flat_data, np.asarray(rows, dtype=np.int64)):
        groups = _only_groups(nodes)
        if groups is None or len(groups.inputs) < 2 or not _is_ours(samples):
            return None
        own = groups.inputs["train"], groups.inputs["eval"]
        # equal transforms may be different objects
        if transforms is not None and own != transforms:
            return None
        transforms = own
        places += [(samples, int(row)) for row in within]
    return None if transforms is None else (places, transforms)


def _leaves(node: Any, rows: Rows, above: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    """Yield the leaves behind `rows` of a node in order, consecutive rows of a leaf together."""
    if not isinstance(node, FlatData):
        yield node, rows, above
        return
    if isinstance(node, _FlatDataWithTransform):
        above = (*above, node)
    if node._indices is not None:
        rows = np.asarray(list(node._indices), dtype=np.int64)[rows]
    ends = np.asarray(node._cumulative_sizes, dtype=np.int64)
    part = np.searchsorted(ends, rows, side="right")
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(part)) + 1):
        if len(run):
            which = int(part[run[0]])
            yield from _leaves(node._datasets[which], rows[run] - starts[which], above)


def _transform_in_force(nodes: Sequence[Any], group: str) -> Transform | None:
    """Return the only transform of these nodes that acts in a group, None if it is not clear."""
    if any(not _is_empty(node._frozen_transform_groups) for node in nodes):
        return None
    groups = _only_groups(nodes)
    return None if groups is None else groups.inputs.get(group)


def _only_groups(nodes: Sequence[Any]) -> SampleTransforms | None:
    """Return the suite's transforms if these nodes hold exactly one such group and no others."""
    held = [
        groups
        for node in nodes
        for groups in (node._transform_groups, node._frozen_transform_groups)
        if not _is_empty(groups)
    ]
    return held[0] if len(held) == 1 and isinstance(held[0], SampleTransforms) else None


def _is_empty(groups: Any) -> bool:
    # the library sets a transform even in these
    return type(groups) is EmptyTransformGroups and not any(groups.transform_groups.values())


def _is_ours(leaf: Any) -> bool:
    return all(hasattr(leaf, name) for name in ("select", "digest", "num_bytes", "targets"))
