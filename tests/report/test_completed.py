"""Runs of different versions: a parameter that the older one lacks counts as its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.shown_runs import write_run

from cl_suite.report.completed import completed
from cl_suite.report.loaded_run import LoadedRun, load
from cl_suite.report.streams import streams_of
from cl_suite.runs.folder import RunFolder


def run(root: Path, seed: int, changes: Mapping[str, Any], *, name: str = "omniglot") -> LoadedRun:
    """Return a run of `teen` whose settings hold these besides."""
    folder = RunFolder(write_run(root, seed=seed))
    content = {**yaml.safe_load(folder.config_file.read_text()), "scenario_name": name, **changes}
    folder.config_file.write_text(yaml.safe_dump(content))
    return load(folder)


def test_a_lacking_setting_of_the_strategy_is_its_default(tmp_path: Path) -> None:
    old = run(tmp_path, 0, {"strategy": {"softmax_t": 16.0}})
    new = run(tmp_path, 1, {"strategy": {"softmax_t": 16.0, "shift_weight": 0.5}})
    (stream,) = streams_of([old, new])
    assert [len(method.runs) for method in stream.methods] == [2]
    other = run(tmp_path, 2, {"strategy": {"softmax_t": 16.0, "shift_weight": 0.4}})
    (stream,) = streams_of([old, other])
    assert [len(method.runs) for method in stream.methods] == [1, 1]


def test_a_lacking_setting_of_the_scenario_makes_no_other_stream(tmp_path: Path) -> None:
    old = run(tmp_path, 0, {"scenario": {"way": 10}})
    new = run(tmp_path, 1, {"scenario": {"way": 10, "label_noise": 0.0}})
    assert len(streams_of([old, new])) == 1
    noisy = run(tmp_path, 2, {"scenario": {"way": 10, "label_noise": 0.2}})
    assert len(streams_of([old, new, noisy])) == 2


def test_nothing_is_looked_up_for_runs_of_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("cl_suite.runs.changed.usual_settings")
    runs = [run(tmp_path, seed, {"strategy": {"shift_weight": 0.5}}) for seed in (0, 1)]
    assert completed(runs) == runs


def test_what_the_registry_does_not_know_stays_as_it_is(tmp_path: Path) -> None:
    old = run(tmp_path, 0, {"scenario": {}}, name="of_a_program")
    new = run(tmp_path, 1, {"scenario": {"width": 3}}, name="of_a_program")
    assert [each.config for each in completed([old, new])] == [old.config, new.config]
