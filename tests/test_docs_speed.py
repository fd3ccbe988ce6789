"""The page on speed: every comparison of every file stands in it, and a missed bar is seen."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.programs import ROOT

from site_writer import speed


def test_every_measured_comparison_stands_on_the_page() -> None:
    text = speed.tables()
    for path in (ROOT / "benchmarks/results/speed").glob("*.json"):
        for comparison in json.loads(path.read_text("utf-8"))["comparisons"]:
            assert f"| {comparison['name']} |" in text


def test_a_missed_bar_is_in_bold() -> None:
    comparison = {
        "name": "x",
        "ratio": "theirs / ours",
        "ratios": [0.5, 2.0],
        "sides": {"ours": [3.0, 4.0], "theirs": [2.0, 2.0]},
        "unit": "s",
        "bar": {"kind": "at least", "value": 2.0},
        "median": 1.25,
        "met": False,
    }
    assert speed.row(comparison) == (
        "| x | ours 3.5, theirs 2 s | theirs / ours | 1.25 (0.50 to 2.00) "
        "| **at least 2: missed** |"
    )
    assert "missed" not in speed.row({**comparison, "met": True})
    assert speed.row({**comparison, "bar": None, "met": None}).endswith("|  |")


def test_a_checkout_without_figures_says_so(tmp_path: Path) -> None:
    assert speed.tables(tmp_path) == "No figures are in this checkout."
