"""All public names of Avalanche that the suite uses, and functions that make its data sets.

Importing this module imports avalanche (seconds), so import it inside functions.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_suite.avalanche.internals import SampleTransforms, raw_rows, transform_group
from cl_suite.avalanche.quick_import import quick_import
from cl_suite.data.samples import UNLABELLED, Samples
from cl_suite.data.transforms import Transform

with quick_import():
    import avalanche
    from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
    from avalanche.benchmarks.scenarios.generic_scenario import EagerCLStream
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.benchmarks.utils.classification_dataset import (
        TaskAwareSupervisedClassificationDataset,
    )
    from avalanche.benchmarks.utils.data_attribute import DataAttribute
    from avalanche.benchmarks.utils.flat_data import ConstantSequence
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
    "joined",
    "lone_experience",
    "quiet",
    "sample_ids",
    "silent_evaluator",
    "task_labels",
]


@contextlib.contextmanager
def same_batches() -> Iterator[None]:
    """Let Avalanche's loaders give every process of a run the same batches inside the block.

    They would give each its own samples; the engine shares batches itself.
    """
    from avalanche.distributed.distributed_helper import DistributedHelper

    kind = type(DistributedHelper)
    before = kind.is_distributed
    kind.is_distributed = property(lambda helper: False)
    try:
        yield
    finally:
        kind.is_distributed = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide Avalanche's warnings that users of the suite cannot fix: its own deprecations."""
    show, library = warnings.showwarning, Path(avalanche.__file__).resolve().parent

    def show_others(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
        if not Path(filename).resolve().is_relative_to(library):
            show(message, category, filename, *rest, **more)

    # Avalanche resets the filters at each of its warnings, so a filter would not work
    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show


def silent_evaluator() -> EvaluationPlugin:
    """Return an evaluator that neither measures nor prints: the suite computes its own figures."""
    return EvaluationPlugin(loggers=[])


def empty_dataset() -> AvalancheDataset[Any]:
    """Return an empty data set, the start of Avalanche's own buffers."""
    return concat_datasets([])


def dataset(
    samples: Samples,
    train: Transform,
    eval: Transform,
    ids: Sequence[int],
    tasks: Sequence[int] | None = None,
) -> AvalancheDataset[Any]:
    """Return samples as an Avalanche classification data set.

    It has `sample_id` (position in the stream, for checkpoints) and a constant task label that
    stays out of the mini-batch: plugins such as LwF need one, `model(x)` does not.

    Args:
        tasks: task label of each sample, for the mini-batch too.
    """
    num = len(samples)
    labels = ConstantSequence(0, num) if tasks is None else list(tasks)
    return TaskAwareSupervisedClassificationDataset(
        [samples],
        transform_groups=SampleTransforms(train, eval),
        data_attributes=[
            DataAttribute(list(samples.targets), "targets"),
            DataAttribute(labels, "targets_task_labels", use_in_getitem=tasks is not None),
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


def concatenate(parts: Sequence[AvalancheDataset[Any]]) -> AvalancheDataset[Any]:
    """Return the data sets one after another, each with its own transforms."""
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.concat(part)
    return joined


def joined(data: AvalancheDataset[Any], kept: AvalancheDataset[Any]) -> AvalancheDataset[Any]:
    """Return a session's data followed by kept samples, in batches that can be collated.

    Class ids of foreign data may be tensors or numpy numbers; here they become ints, like those of
    the samples kept.
    """
    if len(data) and raw_rows(data, [0]) is None:
        group = transform_group(data)
        # a layer above the data's own transforms, in both groups
        ids = TransformGroups({"train": (None, int), "eval": (None, int)}, current_group=group)
        data = data.__class__([data], transform_groups=ids)
    return data.concat(kept)


def task_labels(data: AvalancheDataset[Any]) -> Sequence[int] | None:
    """Return the task label of each sample if its items end with one, else None."""
    found = getattr(data, "_data_attributes", {}).get("targets_task_labels")
    return found.data if found is not None and found.use_in_getitem else None


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

    `future_classes` is empty and the origin stream holds only this experience. In a whole
    benchmark, both would show a plugin the data to come.
    """
    experience: Any = DatasetExperience(dataset=data, current_experience=session)
    current = {int(c) for c in data.targets.uniques} - {UNLABELLED}
    experience.classes_in_this_experience = current
    experience.previous_classes = set(previous_classes)
    experience.classes_seen_so_far = current | set(previous_classes)
    experience.future_classes = set()
    # only this session's classes: future class names are future data
    experience.class_names = {c: class_names[c] for c in sorted(current) if c < len(class_names)}
    # set_stream_info=False: the stream would number its only experience 0
    experience.origin_stream = EagerCLStream("train", [experience], set_stream_info=False)
    return experience
