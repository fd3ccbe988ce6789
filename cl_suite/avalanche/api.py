"""Every Avalanche name the engine uses, in one module.

Replacing the library touches this file and `data/readers/avalanche.py`, which reads benchmarks.

Importing this module imports avalanche (seconds); so import it inside functions.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import UNLABELLED
from cl_suite.data.transforms import Transform

with warnings.catch_warnings():
    # said at import where no QP solver is installed; only GEM needs one
    warnings.filterwarnings("ignore", message=".*QP solver.*")
    from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
    from avalanche.benchmarks.scenarios.generic_scenario import EagerCLStream
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.benchmarks.utils.classification_dataset import (
        TaskAwareSupervisedClassificationDataset,
    )
    from avalanche.benchmarks.utils.data import _FlatDataWithTransform
    from avalanche.benchmarks.utils.data_attribute import DataAttribute
    from avalanche.benchmarks.utils.flat_data import ConstantSequence, FlatData
    from avalanche.benchmarks.utils.transform_groups import TransformGroups
    from avalanche.benchmarks.utils.utils import concat_datasets
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.templates import SupervisedTemplate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AvalancheDataset",
    "CLScenario",
    "EvaluationPlugin",
    "SupervisedTemplate",
    "benchmark",
    "concatenate",
    "dataset",
    "empty_dataset",
    "lone_experience",
    "quiet",
    "raw_rows",
    "resolve",
    "sample_ids",
    "silent_evaluator",
    "transform_group",
    "with_train_transform",
]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what Avalanche warns of and a user of the suite cannot mend: its own deprecations."""
    show = warnings.showwarning

    def show_others(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
        if "avalanche" not in Path(filename).parts:
            show(message, category, filename, *rest, **more)

    # Avalanche resets the filters at each of its warnings, so a filter would not do
    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show


def silent_evaluator() -> EvaluationPlugin:
    """Return an evaluator that neither measures nor prints: the suite's figures are its own."""
    return EvaluationPlugin(loggers=[])


def empty_dataset() -> AvalancheDataset[Any]:
    """Return what Avalanche's own buffers start from."""
    return concat_datasets([])


class SampleTransforms(TransformGroups):  # type: ignore[misc]  # avalanche has no types
    """Transform groups that remember the transforms themselves, so whole batches can use them."""

    def __init__(self, train: Transform, eval: Transform) -> None:
        self.inputs = {"train": train, "eval": eval}
        super().__init__({"train": (train, None), "eval": (eval, None)})


def dataset(
    samples: Samples, train: Transform, eval: Transform, ids: Sequence[int]
) -> AvalancheDataset[Any]:
    """Return samples as an Avalanche classification data set.

    It carries `sample_id` (position in the stream, for checkpoints) and a constant task label that
    stays out of the mini-batch: plugins such as LwF ask for one, `model(x)` does not.
    """
    num = len(samples)
    return TaskAwareSupervisedClassificationDataset(
        [samples],
        transform_groups=SampleTransforms(train, eval),
        data_attributes=[
            DataAttribute(list(samples.targets), "targets"),
            DataAttribute(ConstantSequence(0, num), "targets_task_labels"),
            DataAttribute(list(ids), "sample_id"),
        ],
    )


def sample_ids(data: AvalancheDataset[Any]) -> list[int]:
    """Return the stream position of each sample; raise `ValueError` for foreign data."""
    if len(data) == 0:
        return []
    if not hasattr(data, "sample_id"):
        raise ValueError("the data set was not made by cl-suite: its samples have no sample_id")
    return [int(i) for i in data.sample_id]


def transform_group(data: AvalancheDataset[Any]) -> str:
    """Return the transform group in force, `train` or `eval`."""
    group: str = data._flat_data._transform_groups.current_group
    return group


def with_train_transform(
    data: AvalancheDataset[Any], transform: Transform
) -> AvalancheDataset[Any]:
    """Return a data set of the suite's with another training transform for all its samples.

    That of evaluation stays, and so does the group in force.

    Raises:
        ValueError: if some of the data is not the suite's.
    """
    changed: AvalancheDataset[Any] = data._shallow_clone_dataset()
    changed._flat_data = _with_train_transform(changed._flat_data, transform)
    return changed


def _with_train_transform(node: FlatData[Any], transform: Transform) -> FlatData[Any]:
    changed = copy.copy(node)
    if isinstance(node, _FlatDataWithTransform) and isinstance(
        node._transform_groups, SampleTransforms
    ):
        # what lies below has no transforms of its own: see `_leaf`
        groups = SampleTransforms(transform, node._transform_groups.inputs["eval"])
        groups.current_group = node._transform_groups.current_group
        changed._transform_groups = groups
        return changed
    if not all(isinstance(part, FlatData) for part in node._datasets):
        raise ValueError("the data set was not made by cl-suite: its transforms are unknown")
    changed._datasets = [_with_train_transform(part, transform) for part in node._datasets]
    return changed


def concatenate(parts: Sequence[AvalancheDataset[Any]]) -> AvalancheDataset[Any]:
    """Return the data sets one after another, each with its own transforms."""
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.concat(part)
    return joined


def benchmark(
    train: Sequence[Samples], test: Sequence[Samples], train_tf: Transform, eval_tf: Transform
) -> CLScenario[Any, Any, Any]:
    """Return an Avalanche scenario with a train and a test stream and the classes timeline."""

    def experiences(sets: Sequence[Samples]) -> list[AvalancheDataset[Any]]:
        starts = [sum(len(s) for s in sets[:i]) for i in range(len(sets))]
        return [
            dataset(s, train_tf, eval_tf, range(n, n + len(s)))
            for s, n in zip(sets, starts, strict=True)
        ]

    return with_classes_timeline(
        benchmark_from_datasets(train=experiences(train), test=experiences(test))
    )


def lone_experience(
    data: AvalancheDataset[Any],
    session: int,
    previous_classes: Iterable[int],
    class_names: Sequence[str] = (),
) -> Any:
    """Return one session as an experience from which no other session can be reached.

    `future_classes` is empty and the origin stream holds this experience alone, whereas those of a
    whole benchmark show a plugin the data to come.
    """
    experience: Any = DatasetExperience(dataset=data, current_experience=session)
    current = {int(c) for c in data.targets.uniques} - {UNLABELLED}
    experience.classes_in_this_experience = current
    experience.previous_classes = set(previous_classes)
    experience.classes_seen_so_far = current | set(previous_classes)
    experience.future_classes = set()
    # of this session's classes alone: names to come are data to come
    experience.class_names = {c: class_names[c] for c in sorted(current) if c < len(class_names)}
    # by hand: the stream would number its only experience 0
    experience.origin_stream = EagerCLStream("train", [experience], set_stream_info=False)
    return experience


def resolve(data: AvalancheDataset[Any]) -> list[tuple[TensorSamples, Transform, Tensor]] | None:
    """Return where the samples of a data set lie, so that whole batches can be sliced from tensors.

    Returns:
        A list of (samples, transform in force, rows `(n,)` in them) that covers the data set in
        order; or None if some of it is not held in memory or its transforms are not ours.
    """
    if not isinstance(data, AvalancheDataset):
        return None
    group = transform_group(data)
    found: list[tuple[TensorSamples, Transform, list[int]]] = []
    for index in range(len(data)):
        leaf = _leaf(data._flat_data, index, group)
        if leaf is None:
            return None
        samples, transform, row = leaf
        if not found or found[-1][0] is not samples or found[-1][1] is not transform:
            found.append((samples, transform, []))
        found[-1][2].append(row)
    return [(samples, transform, torch.tensor(rows)) for samples, transform, rows in found]


def _leaf(node: Any, index: int, group: str) -> tuple[TensorSamples, Transform, int] | None:
    transform: Transform | None = None
    while isinstance(node, _FlatDataWithTransform):
        groups = node._transform_groups
        if isinstance(groups, SampleTransforms):
            if transform is not None:
                return None
            transform = groups.inputs[group]
        elif type(groups).__name__ != "EmptyTransformGroups":
            return None
        if type(node._frozen_transform_groups).__name__ != "EmptyTransformGroups":
            return None
        which, index = node._get_idx(index)
        node = node._datasets[which]
    if not isinstance(node, TensorSamples) or transform is None or not transform.batched:
        return None
    return node, transform, index


def raw_rows(
    data: AvalancheDataset[Any], rows: Sequence[int]
) -> tuple[list[tuple[Samples, int]], tuple[Transform, Transform]] | None:
    """Return where some samples (one at least) of a data set lie before any transform.

    Returns:
        (samples, row in them) for each of `rows`, and the transforms of training and evaluation
        that serve them all; or None if a sample or its transforms are not ours.
    """
    if not isinstance(data, AvalancheDataset):
        return None
    leaves = [_raw_leaf(data._flat_data, index) for index in rows]
    ours = [leaf for leaf in leaves if leaf is not None]
    transforms = [(groups.inputs["train"], groups.inputs["eval"]) for _, _, groups in ours]
    # equal transforms may be different objects
    if len(ours) < len(leaves) or any(each != transforms[0] for each in transforms):
        return None
    return [(samples, row) for samples, row, _ in ours], transforms[0]


def _raw_leaf(node: Any, index: int) -> tuple[Samples, int, SampleTransforms] | None:
    ours: SampleTransforms | None = None
    while isinstance(node, FlatData):
        if isinstance(node, _FlatDataWithTransform):
            for groups in (node._transform_groups, node._frozen_transform_groups):
                if isinstance(groups, SampleTransforms) and ours is None:
                    ours = groups
                elif type(groups).__name__ != "EmptyTransformGroups":
                    return None
        which, index = node._get_idx(index)
        node = node._datasets[which]
    is_ours = all(hasattr(node, name) for name in ("select", "digest", "num_bytes", "targets"))
    return (node, index, ours) if is_ours and ours is not None else None
