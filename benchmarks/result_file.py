"""Measured figures as data: the content of `results/NAME.json` (see `results/README.md`)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_suite.metrics.intervals import MeanInterval, mean_interval, paired_difference
from cl_suite.storage.files import atomic_write, make_folder

SCHEMA = 1
RESULTS = Path(__file__).resolve().parent / "results"
# digits after the point that are kept of per cent: more than anybody prints, and short to read
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
        name: of the figure.
        row: name of a row, and its fractions by seed.
        against: the same of another one.
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
        name: unique in its table.
        label: what the table prints, Markdown.
        scenario, strategy: as on the command line.
        figures: fractions by figure and seed; a figure that is undefined for a seed is left out.
        group: heading under which it stands.
        host: the strategy that this one wraps.
        baseline: name of the row that it is compared with.
        options: as on the command line, variables in place of paths; None if they are not known.
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


def notes_of(path: Path) -> list[str]:
    """Return the sentences on its figures that a file holds, none if there is no file."""
    if not path.is_file():
        return []
    return [str(note) for note in json.loads(path.read_text("utf-8"))["notes"]]


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results, whole or not at all.

    Args:
        path: where.
        content: every field but the version of the schema.
    """
    make_folder(path.parent)
    text = json.dumps({"schema": SCHEMA, **content}, indent=2, ensure_ascii=False, allow_nan=False)
    # a line a list of seeds, not a line a seed
    text = re.sub(r"\[[\d,\s]+\]", lambda found: f"[{' '.join(found[0][1:-1].split())}]", text)
    atomic_write(path, f"{text}\n".encode())


def _interval(found: MeanInterval) -> dict[str, float | None]:
    half_width = None if math.isnan(found.half_width) else _per_cent(found.half_width)
    return {"mean": _per_cent(found.mean), "half_width": half_width}


def _per_cent(fraction: float) -> float:
    return round(100 * fraction, DIGITS)
