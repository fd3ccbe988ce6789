"""The entry `python -m benchmarks`, and the files of speed that benchmarks write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import ROOT, load_program

entry = load_program("benchmarks/__main__.py")
speed_file = load_program("benchmarks/speed_file.py")
peers = load_program("benchmarks/peers.py")
FILES = sorted((ROOT / "benchmarks/results/speed").glob("*.json"))


def told(*arguments: str, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit code and what is printed, to both outputs."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", **(variables or {})},
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_without_a_name_it_lists_each_in_one_line() -> None:
    code, text = told()
    assert code == 0
    for name, known in entry.ENTRIES.items():
        assert sum(
            line.startswith(f"{name} ") and known.about in line for line in text.splitlines()
        )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    assert told("strat") == (2, "benchmark 'strat' is unknown; did you mean 'start'?\n")


def test_one_without_its_data_is_left_out_by_a_sentence() -> None:
    code, text = told("frozen_run", variables={"LITE0": "x"})
    assert code == 0
    assert text == (
        "frozen_run is left out: set $MINI_IMAGENET (the folder of miniImageNet), or pass the "
        "program's own options\n"
    )


def test_variables_stand_for_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINI_IMAGENET", "here")
    monkeypatch.setenv("LITE0", "there")
    found = entry.full_options(entry.ENTRIES["frozen_run"])
    assert found == ["--root", "here", "--weights", "there"]


def test_all_takes_no_options() -> None:
    assert told("all", "--rounds")[0] == 2


def test_a_failure_is_named_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(name: str, options: object, *, small: bool) -> int:
        ran.append((name, small))
        return int(name == "start")

    monkeypatch.setattr(entry, "run", run)
    assert entry.main(["all", "--small"]) == 1
    assert ran == [(name, True) for name in entry.ENTRIES if name != "tables"]
    assert capsys.readouterr().err == "failed: start\n"


def test_a_ratio_divides_the_sides_of_each_round() -> None:
    sides = {"theirs": [4.0, 9.0, 10.0], "ours": [2.0, 3.0, 10.0]}
    bar = speed_file.Bar("at least", 2.5)
    found = speed_file.paired("x", "theirs / ours", sides, unit="s", bar=bar)
    assert found.ratios == [2.0, 3.0, 1.0]
    assert (found.median, found.met) == (2.0, False)
    assert found.line() == (
        "x: theirs 9, ours 3 s; theirs / ours 2.000 (from 1.000 to 3.000, 3 rounds), "
        "bar at least 2.5 MISSED"
    )


@pytest.mark.parametrize(("kind", "met"), [("at least", [False, True]), ("at most", [True, False])])
def test_a_bar_has_a_side(kind: str, met: list[bool]) -> None:
    assert [speed_file.Bar(kind, 2.0).is_met(ratio) for ratio in (1.0, 3.0)] == met


def test_sides_take_turns_and_begin_in_turns() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: float(order.append(name) or 1) for name in ("a", "b")}
    assert speed_file.in_turns(sides, 2) == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert order == ["a", "b", "b", "a"]


def test_a_file_says_where_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["x", "--root", str(tmp_path / "images"), "--rounds", "2"])
    one = speed_file.Comparison("x", "a / b", [1.0])
    content = json.loads(speed_file.write("x", "X", [one], notes=["n"]).read_text())
    assert content["command"] == "python -m benchmarks x --root images --rounds 2"
    assert content["machine"].keys() >= {"cores", "processor", "threads", "load"}
    assert content["libraries"]["torch"]
    assert (content["seeds"], content["notes"]) == ([0], ["n"])
    assert content["comparisons"][0]["met"] is None


def test_a_missing_library_is_noted_once() -> None:
    notes: list[str] = []
    assert not peers.installed("no_such_library", notes)
    assert not peers.installed("no_such_library", notes)
    assert len(notes) == 1
    assert peers.installed("torch", notes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_file_is_of_a_benchmark_and_whole(path: Path) -> None:
    found = json.loads(path.read_text("utf-8"))
    assert found["name"] == path.stem
    assert path.stem in entry.ENTRIES
    assert found["comparisons"]
    assert "/" not in found["command"].replace("[/", "")
    for comparison in found["comparisons"]:
        bar = comparison["bar"]
        met = None if bar is None else speed_file.Bar(**bar).is_met(comparison["median"])
        assert comparison["met"] == met
