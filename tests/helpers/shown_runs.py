"""Small run folders, and what `cl-suite show` prints of them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.report.show import print_runs
from cl_suite.runs.folder import RunFolder
from helpers.records import session_record


def write_run(
    root: Path,
    strategy: str = "teen",
    seed: int = 0,
    *,
    base_rate: float = 0.9,
    num_sessions: int = 3,
    scenario: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    fingerprint: str = "",
    finished: bool = True,
    num_base_images: int = 100,
) -> Path:
    """Write a run whose base accuracy falls by a point a session and whose new one is 0.5."""
    folder = RunFolder(root / "demo" / strategy / f"seed{seed}")
    folder.path.mkdir(parents=True)
    counts = np.array([num_base_images] + [100] * (num_sessions - 1))
    hits = np.zeros((num_sessions, num_sessions), dtype=np.int64)
    for session in range(num_sessions):
        hits[session, 0] = round(num_base_images * (base_rate - 0.01 * session))
        hits[session, 1 : session + 1] = 50
    figures = Hits(hits, counts, np.arange(num_sessions))
    folder.write_hits(figures)
    folder.write_metrics(
        [
            session_record(figures, i, seconds_train=1.5, seconds_eval=0.25, seen_classes=i + 1)
            for i in range(num_sessions)
        ]
    )
    config = {
        "scenario_name": "demo",
        "strategy_name": strategy,
        "seed": seed,
        "scenario": scenario or {"shots": 5},
        "strategy": settings or {},
        "model": model or {"backbone": "conv4"},
        "training": {"epochs": 3},
    }
    folder.config_file.write_text(yaml.safe_dump(config))
    info = {"finished": finished, "stream": {"fingerprint": fingerprint}}
    folder.run_info_file.write_text(json.dumps(info))
    return folder.path


def shown(*paths: Path, encoding: str = "utf-8", everything: bool = False) -> str:
    """Return what is printed into a pipe."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as file:
        print_runs(list(paths), Console(file=file, width=80), everything=everything)
        file.flush()
        return raw.getvalue().decode(encoding)


def row(text: str, *start: str) -> list[str]:
    """Return the cells of the first line that begins with these words."""
    lines = (line.split() for line in text.splitlines())
    return next(cells for cells in lines if cells[: len(start)] == list(start))
