"""Which runs are draws of a benchmark, from the record in the benchmark's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_suite.report.loaded_run import Draw
from cl_suite.runs.folder import RunFolder

RECORD = "benchmark.json"  # in the benchmark's folder
DEPTH = 6  # folders between a run and the record, at most


def draws_of(folders: Iterable[RunFolder]) -> dict[Path, Draw]:
    """Return the draw of each run that a benchmark lists, by the run's folder.

    A record that cannot be read lists nothing: its runs are then shown one stream each.
    """
    known: dict[Path, dict[Path, Draw]] = {}
    found = {}
    for folder in folders:
        for above in list(folder.path.parents)[:DEPTH]:
            if above not in known:
                known[above] = _listed(above)
            if folder.path in known[above]:
                found[folder.path] = known[above][folder.path]
                break
    return found


def _listed(folder: Path) -> dict[Path, Draw]:
    try:
        content = json.loads((folder / RECORD).read_text("utf-8"))
        return dict(_draws(folder, content["runs"]))
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _draws(folder: Path, runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Path, Draw]]:
    numbers: dict[str, list[str]] = {}
    # what any draw sets: groups then differ in their name alone
    names = sorted({name.removeprefix("scenario.") for run in runs for name in run["set"]})
    for run in runs:
        group, values = str(run["draws"]), json.dumps(run["varied"], sort_keys=True)
        in_group = numbers.setdefault(group, [])
        if values not in in_group:
            in_group.append(values)
        yield folder / str(run["folder"]), Draw(group, in_group.index(values), tuple(names))
