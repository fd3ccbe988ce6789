"""A small table of results, and the runs behind it, made up."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.runs.folder import RunFolder
from helpers.programs import load_program
from helpers.records import session_record

tables = load_program("benchmarks/tables.py")
rows = sys.modules["table_rows"]
PLACES = {root: root.lower() for root in rows.ROOTS}
SMALL = rows.Table(
    name="small",
    title="A small table",
    scenario="omniglot",
    setting="Two strategies.",
    columns={"average": "average", "new": "new", "knn.last": "neighbours, last"},
    rows=[
        rows.Row(name="start", strategy="finetune", reported=False),
        rows.Row(name="means", strategy="prototype", start_from="start"),
        rows.Row(
            name="teen",
            strategy="teen",
            baseline="means",
            options={"strategy.shift_weight": "0.3", "scenario.root": "$SPOKEN_DIGITS"},
        ),
    ],
    differences=[rows.Difference(row="teen", against="means", figure="average")],
)


def use_own_folders(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let tables read their data by short names, and write below a folder."""
    for name, place in PLACES.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setenv("OUT", str(folder / "runs"))
    monkeypatch.setenv("RESULTS", str(folder / "results"))


def use_small_table(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let `small` be a table whose runs are made up; return the calls made."""
    found: list[list[str]] = []

    def call(arguments: Sequence[str]) -> int:
        found.append(list(arguments))
        for seed in seeds_in(arguments):
            write_run(arguments, seed)
        return 0

    monkeypatch.setattr(tables, "TABLES", {"small": SMALL})
    monkeypatch.setattr(tables, "call_suite", call)
    monkeypatch.setattr(tables, "call_quietly", call)
    return found


def written(folder: Path) -> dict[str, Any]:
    """Return what was written for `small`."""
    content: dict[str, Any] = json.loads((folder / "results/small.json").read_text("utf-8"))
    return content


def seeds_in(call: Sequence[str]) -> list[int]:
    start = call.index("--seed") + 1
    end = next(i for i in range(start, len(call)) if call[i].startswith("--"))
    return [int(word) for word in call[start:end]]


def write_run(call: Sequence[str], seed: int, *, finished: bool = True) -> None:
    """Write a run of two sessions: 60 + seed of 100 images are right, then 40 of 200."""
    _, scenario, strategy = call[:3]
    folder = RunFolder(Path(call[-1]) / scenario / strategy / f"seed{seed}")
    right = 60 + seed + (10 + seed if strategy == "teen" else 0)
    hits = Hits(np.array([[right, 0], [20, 20]]), np.array([100, 100]), np.array([0, 1]))
    for part in (folder, folder.probe("knn")):
        part.make()
        part.write_hits(hits)
    times = {"seconds_train": 1.0, "seconds_eval": 1.0}
    folder.write_metrics([session_record(hits, i, seen_classes=i + 1, **times) for i in range(2)])
    names = f"scenario_name: {scenario}\nstrategy_name: {strategy}\n"
    folder.config_file.write_text(f"{names}seed: [{seed}]\ndevice: cpu\n")
    info = {
        "finished": finished,
        "started": f"2026-01-0{seed + 1}T10:00:00+0000",
        "versions": {"cl-suite": "9.9"},
        "machine": {"processor": "abacus"},
        "probes": ["knn"],
        "forward_samples": 2500,
    }
    folder.run_info_file.write_text(json.dumps(info))
