"""Content of a file of measured figures, `results/NAME.json` (see `results/README.md`)."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_suite import __version__
from cl_suite.data.readers.names import natural
from cl_suite.metrics.intervals import MeanInterval, mean_interval, paired_difference
from cl_suite.storage.files import atomic_write, make_folder

SCHEMA = 1
RESULTS = Path(__file__).resolve().parent / "results"
# digits kept after the decimal point of a percentage: more than any table prints, but short
DIGITS = 6

BySeed = Mapping[int, float]


def figure(values: BySeed) -> dict[str, Any]:
    """Return one figure of a row.

    Args:
        values: fractions by seed, at least one.
    """
    each = {str(seed): _per_cent(value) for seed, value in sorted(values.items())}
    return {**_interval(mean_interval(list(values.values()))), "values": each}


def difference(
    name: str, row: tuple[str, BySeed], against: tuple[str, BySeed]
) -> dict[str, Any] | None:
    """Return `row - against`, paired by seed; None if the two have no seed in common.

    Args:
        name: name of the figure.
        row: name of a row, and its fractions by seed.
        against: the same for the other row.
    """
    (first, ours), (second, theirs) = row, against
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    found = paired_difference([ours[s] for s in common], [theirs[s] for s in common])
    named = {"figure": name, "row": first, "against": second, "seeds": common}
    return named | _interval(found)


def row_record(
    *,
    name: str,
    label: str,
    scenario: str,
    strategy: str,
    figures: Mapping[str, BySeed],
    group: str | None = None,
    host: str | None = None,
    baseline: str | None = None,
    options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return one row.

    Args:
        name: name of the row, unique in its table.
        label: its text in the table, Markdown.
        scenario, strategy: as on the command line.
        figures: fractions by figure and seed; a figure that is undefined for a seed is left out.
        group: heading above the row.
        host: the strategy that this one wraps.
        baseline: name of the row that it is compared with.
        options: as on the command line, with variables for paths; None if they are not known.
    """
    defined = {
        name: values
        for name, values in figures.items()
        if values and all(map(math.isfinite, values.values()))
    }
    return {
        "name": name,
        "label": label,
        "group": group,
        "scenario": scenario,
        "strategy": strategy,
        "host": host,
        "baseline": baseline,
        "options": None if options is None else dict(options),
        "seeds": sorted({seed for values in figures.values() for seed in values}),
        "figures": {name: figure(values) for name, values in defined.items()},
    }


def values_of(row: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return a row's fractions by figure and seed."""
    return {
        column: {int(seed): value / 100 for seed, value in found["values"].items()}
        for column, found in row["figures"].items()
    }


def versions(*found: str) -> str:
    """Return the versions in these texts, each once, the oldest first.

    Example:
        >>> versions("0.9.0, 0.10.0", "0.9.0")
        '0.9.0, 0.10.0'
    """
    every = {version for text in found for version in text.split(", ")}
    return ", ".join(sorted(every, key=natural))


def notes_of(path: Path) -> list[str]:
    """Return a file's notes on its figures, or an empty list if it does not exist."""
    if not path.is_file():
        return []
    return [str(note) for note in json.loads(path.read_text("utf-8"))["notes"]]


def measured_here(device: str = "cpu", beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return when, by which version and on what machine figures are measured now.

    Args:
        beside: the content of the file, if it keeps other figures.
    """
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "version": versions(__version__, *([beside["version"]] if beside else [])),
        "machine": {"device": device, "cores": os.cpu_count(), "processor": platform.machine()},
        "provenance": None,
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results atomically: complete or not at all.

    Args:
        path: the file.
        content: every field except the version of the schema.
    """
    make_folder(path.parent)
    text = json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=False, allow_nan=False)
    # each list of seeds on one line
    text = re.sub(r"\[[\d,\s]+\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    # so are the values of hundreds of tasks
    text = re.sub(
        r'(?<="values": )\{[^{}]{2000,}\}', lambda found: " ".join(found[0].split()), text
    )
    atomic_write(path, f"{text}\n".encode())


def _interval(found: MeanInterval) -> dict[str, float | None]:
    half_width = None if math.isnan(found.half_width) else _per_cent(found.half_width)
    return {"mean": _per_cent(found.mean), "half_width": half_width}


def _per_cent(fraction: float) -> float:
    return round(100 * fraction, DIGITS) + 0.0  # no negative zero
