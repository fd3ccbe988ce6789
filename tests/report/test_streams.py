"""Which runs are compared: those on one stream, however a method augments its training images."""

from __future__ import annotations

from pathlib import Path

from helpers.shown_runs import write_run

from cl_suite.report.loaded_run import load
from cl_suite.report.streams import streams_of
from cl_suite.runs.folder import RunFolder


def test_augmentation_is_a_matter_of_the_method(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path, name, scenario={"shots": 5, "augmentation": augmentation})
        for name, augmentation in (("finetune", "standard"), ("teen", "autoaugment"))
    ]
    (stream,) = streams_of([load(RunFolder(path)) for path in paths])
    assert stream.differing == []
    assert stream.settings_that_differ() == {
        "finetune": {"scenario.augmentation": "standard"},
        "teen": {"scenario.augmentation": "autoaugment"},
    }


def test_one_strategy_with_two_augmentations_is_two_methods(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / str(augment), scenario={"shots": 5, "augment": augment})
        for augment in (False, True)
    ]
    (stream,) = streams_of([load(RunFolder(path)) for path in paths])
    assert [method.label for method in stream.methods] == ["teen #1", "teen #2"]


def test_other_shots_are_another_stream(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / str(n), scenario={"shots": n}) for n in (1, 5)]
    assert len(streams_of([load(RunFolder(path)) for path in paths])) == 2
