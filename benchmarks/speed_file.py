"""Measured ratios of speed, printed as lines and written to `results/speed/NAME.json`.

Each comparison has a ratio for every round, whose sides are measured one after the other. So a
machine that is busy for a while slows both sides of the same rounds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from cl_suite import __version__
from cl_suite.storage.files import atomic_write, make_folder

SCHEMA = 1
RESULTS = Path(__file__).resolve().parent / "results"
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "avalanche-lib",
    "numpy",
    "scikit-learn",
    "pytorch-metric-learning",
    "lightly",
)


@dataclass(frozen=True)
class Bar:
    """What a ratio must reach; `kind` says on which side of `value` it must lie."""

    kind: Literal["at least", "at most"]
    value: float

    def is_met(self, ratio: float) -> bool:
        """Return whether a ratio reaches the bar."""
        return ratio >= self.value if self.kind == "at least" else ratio <= self.value


@dataclass(frozen=True)
class Comparison:
    """Two sides that do the same work.

    Attributes:
        name: what is compared, such as "supcon, 128 rows".
        ratio: what a ratio divides by what, such as "theirs / ours".
        ratios: one for each round.
        sides: measurements of each side, by its name, in `unit`; empty if only ratios are known.
        unit: such as "CPU ms a step".
        bar: what the median ratio must reach; None if nothing was promised.
    """

    name: str
    ratio: str
    ratios: Sequence[float]
    sides: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unit: str = ""
    bar: Bar | None = None

    @property
    def median(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the bar; None without a bar."""
        return None if self.bar is None else self.bar.is_met(self.median)

    def line(self) -> str:
        """Return the comparison in one line."""
        sides = "".join(f"{n} {statistics.median(v):.4g}, " for n, v in self.sides.items())
        unit = f"{self.unit}; " if self.unit else ""
        bar = "" if self.bar is None else f", bar {self.bar.kind} {self.bar.value:g}"
        missed = " MISSED" if self.met is False else ""
        return (
            f"{self.name}: {sides.removesuffix(', ')}{' ' if sides else ''}{unit}{self.ratio} "
            f"{self.median:.3f} (from {min(self.ratios):.3f} to {max(self.ratios):.3f}, "
            f"{len(self.ratios)} rounds){bar}{missed}"
        )


def paired(
    name: str,
    ratio: str,
    sides: Mapping[str, Sequence[float]],
    *,
    unit: str = "",
    bar: Bar | None = None,
) -> Comparison:
    """Return the comparison of two sides, measured in the same rounds.

    Args:
        ratio: "A / B" by the names of the sides.
        sides: measurements of each side, one a round.
    """
    above, below = ratio.split(" / ")
    ratios = [a / b for a, b in zip(sides[above], sides[below], strict=True)]
    return Comparison(name, ratio, ratios, dict(sides), unit, bar)


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return each side's measurements; the sides take turns, and begin in turns too."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            found[name].append(sides[name]())
    return found


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the processor time of an action, user and system, over all threads."""
    start = time.process_time()
    action()
    return time.process_time() - start


def report(
    name: str,
    title: str,
    comparisons: Sequence[Comparison],
    *,
    notes: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> Path:
    """Print the comparisons and notes, write them, and return the file."""
    for comparison in comparisons:
        print(comparison.line())  # noqa: T201
    for note in notes:
        print(f"note: {note}")  # noqa: T201
    path = write(name, title, comparisons, notes=notes, seeds=seeds)
    print(f"written: {path}")  # noqa: T201
    return path


def write(
    name: str,
    title: str,
    comparisons: Sequence[Comparison],
    *,
    notes: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> Path:
    """Write the comparisons and return the file; `$RESULTS` names another folder.

    Args:
        name: the benchmark.
        title: what it measures, for a reader.
        notes: sentences on the figures.
        seeds: seeds that were run.
    """
    folder = Path(os.environ.get("RESULTS") or RESULTS) / "speed"
    path = folder / f"{name}.json"
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "title": title,
        "command": " ".join(["python", "-m", "benchmarks", name, *_options()]),
        "measured": time.strftime("%Y-%m-%d"),
        "version": __version__,
        "machine": machine(),
        "libraries": libraries(),
        "seeds": list(seeds),
        "comparisons": [_plain(comparison) for comparison in comparisons],
        "notes": list(notes),
    }
    make_folder(folder)
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(path, f"{text}\n".encode())
    return path


def machine() -> dict[str, Any]:
    """Return what the figures depend on, and how busy the machine is."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    return {
        "device": "cpu",
        "cores": os.cpu_count(),
        "processor": _processor(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that are compared, as far as they are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _plain(comparison: Comparison) -> dict[str, Any]:
    plain = asdict(comparison)
    plain["ratios"] = [round(ratio, 4) for ratio in comparison.ratios]
    plain["sides"] = {
        name: [float(f"{value:.5g}") for value in values]
        for name, values in comparison.sides.items()
    }
    return {**plain, "median": round(comparison.median, 4), "met": comparison.met}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _options() -> list[str]:
    # a path of this machine is of no use to another
    return [os.path.basename(o) if os.path.isabs(o) else o for o in sys.argv[1:]]
