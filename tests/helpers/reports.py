"""Reports of small runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.report.show import comparable
from cl_suite.report.streams import StreamRuns, streams_of
from cl_suite.runs.folder import RunFolder, find_runs
from helpers.shown_runs import write_run


def streams(*paths: Path) -> list[StreamRuns]:
    """Return the streams of the runs at and below these paths."""
    return streams_of(comparable(find_runs(paths))[0])


def write_pair(root: Path, num_seeds: int = 3) -> None:
    """Write runs of two methods: `joint` is three points of base accuracy above `teen`."""
    for seed in range(num_seeds):
        write_run(root, "teen", seed, base_rate=0.90 - 0.1 * seed)
        write_run(root, "joint", seed, base_rate=0.93 - 0.1 * seed)


def add_info(run: Path, **entries: Any) -> None:
    """Add entries to what a run says of itself."""
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def write_confidence(run: Path, errors: list[float | None]) -> None:
    """Write the calibration error after each session; half of it after scaling."""
    records = []
    for session, error in enumerate(errors):
        figures: dict[str, float | None] = {"session": session, "scale": 2.0}
        for name in ("ece", "ece_mass", "log_loss", "brier"):
            figures[name] = error
            figures[f"scaled_{name}"] = None if error is None else error / 2
        records.append(figures)
    RunFolder(run).write_confidence(records)


def write_probe(run: Path, name: str = "knn") -> None:
    """Write a probe's figures, half of the classifier's hits."""
    add_info(run, probes=[name])
    folder = RunFolder(run).probe(name)
    folder.make()
    hits = RunFolder(run).read_hits()
    folder.write_hits(Hits(hits.hits // 2, hits.counts, hits.session_of_class))


def leave_out_a_session(run: Path) -> None:
    """Take away the test images of a run's second session."""
    hits = RunFolder(run).read_hits()
    counts = np.where(hits.session_of_class == 1, 0, hits.counts)
    RunFolder(run).write_hits(Hits(np.minimum(hits.hits, counts), counts, hits.session_of_class))
