"""Runs of a benchmark are shown by draws, which are repeats as seeds are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.shown_runs import shown, write_run

from cl_suite.report.draws import RECORD, draws_of
from cl_suite.runs.folder import RunFolder


def benchmark(root: Path) -> list[Path]:
    """Write a benchmark of two strategies on two draws, and another of one draw."""
    paths, listed = [], []
    for strategy in ("teen", "er"):
        for group, shot_seed in (("drawn", 0), ("drawn", 1), ("apart", 2)):
            path = write_run(root / group / str(shot_seed), strategy)
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["scenario"] = {**(config["scenario"] or {}), "shot_seed": shot_seed}
            (path / "config.yaml").write_text(yaml.safe_dump(config))
            paths.append(path)
            listed.append(
                {
                    "strategy": strategy,
                    "draws": group,
                    "varied": {"scenario.shot_seed": shot_seed} if group == "drawn" else {},
                    "set": ["scenario.shot_seed"] if group == "drawn" else [],
                    "folder": path.relative_to(root).as_posix(),
                }
            )
    (root / RECORD).write_text(json.dumps({"runs": listed}))
    return paths


def test_each_draw_of_a_group_has_a_number(tmp_path: Path) -> None:
    paths = benchmark(tmp_path)
    found = draws_of([RunFolder(path) for path in paths])
    assert [(found[p].group, found[p].number) for p in paths[:3]] == [
        ("drawn", 0),
        ("drawn", 1),
        ("apart", 0),
    ]
    assert found[paths[0]].names == ("shot_seed",)


def test_draws_of_a_group_share_a_table(tmp_path: Path) -> None:
    benchmark(tmp_path)
    text = shown(tmp_path)
    assert "(draws=drawn)" in text
    assert "(draws=apart)" in text
    assert "paired by draw" in text
    assert "seeds" not in text


def test_without_the_record_each_draw_is_a_stream_of_its_own(tmp_path: Path) -> None:
    benchmark(tmp_path)
    (tmp_path / RECORD).unlink()
    text = shown(tmp_path)
    assert "shot_seed=0" in text
    assert "draws=" not in text


@pytest.mark.parametrize("content", ["", "[]", '{"runs": 3}', '{"runs": [{"draws": 1}]}'])
def test_a_damaged_record_lists_nothing(tmp_path: Path, content: str) -> None:
    paths: list[Any] = benchmark(tmp_path)
    (tmp_path / RECORD).write_text(content)
    assert draws_of([RunFolder(path) for path in paths]) == {}
