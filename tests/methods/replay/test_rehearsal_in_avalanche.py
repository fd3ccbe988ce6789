"""Rehearsal in plain Avalanche programs: data and networks that are not ours."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from helpers.growing_network import GrowingNetwork
from helpers.tiny_streams import make_stream
from torch import nn

from cl_suite.avalanche import api, benchmark
from cl_suite.methods.replay.rehearsal import RehearsalPlugin


def bare_template(plugin: RehearsalPlugin, model: nn.Module) -> Any:
    return api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=1,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )


def foreign_benchmark(with_task_labels: bool) -> Any:
    """Return an Avalanche benchmark of tensors whose training transform is not ours."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.utils import (
        _make_taskaware_classification_dataset,
        as_classification_dataset,
    )
    from avalanche.benchmarks.utils.transform_groups import TransformGroups

    transforms: Any = {
        "train": (lambda x: x.float() / 255 + 0.01, None),
        "eval": (lambda x: x.float() / 255, None),
    }
    sets: list[Any] = []
    for samples in make_stream().train:
        if with_task_labels:  # as those of Avalanche's classic benchmarks
            sets.append(
                _make_taskaware_classification_dataset(
                    samples,  # type: ignore[call-overload]
                    transform_groups=transforms,
                    task_labels=0,
                )
            )
        else:
            groups = TransformGroups(transforms)
            sets.append(as_classification_dataset(samples, transform_groups=groups))
    return with_classes_timeline(benchmark_from_datasets(train=sets))


@pytest.mark.parametrize("with_task_labels", [False, True])
def test_a_foreign_benchmark_is_replayed_by_its_evaluation_samples(with_task_labels: bool) -> None:
    class Spy(RehearsalPlugin):
        sizes: list[int] = []  # noqa: RUF012

        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            self.sizes.append(len(template.mb_y))
            assert template.mb_x.dtype == torch.float32

    Spy.sizes = []
    torch.manual_seed(0)
    plugin = Spy(buffer=16, selection="herding", replay="union")
    template = bare_template(plugin, nn.Sequential(nn.Flatten(), nn.Linear(256, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for experience in foreign_benchmark(with_task_labels).train_stream:
            template.train(experience)
    assert sum(Spy.sizes) == 48 + (6 + 16) + (6 + 12)
    label = 8 if with_task_labels else 0  # bytes
    assert plugin.kept_data() == (16, 16 * (256 * 4 + label))


def test_the_teacher_of_a_growing_foreign_network_has_the_old_outputs() -> None:
    class Spy(RehearsalPlugin):
        needs_teacher = True
        outputs: list[int] = []  # noqa: RUF012

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            teacher = self.teacher(template)
            if teacher is not None:
                self.outputs.append(teacher(template.mb_x).shape[1])

    Spy.outputs = []
    stream = make_stream([[0, 1], [2, 3], [4]])
    template = bare_template(Spy(buffer=16), GrowingNetwork())
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    assert sorted(set(Spy.outputs)) == [2, 4]
