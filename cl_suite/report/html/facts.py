"""What was run, on which data, by which versions and machine, from what the runs wrote of it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from cl_suite.report.loaded_run import LoadedRun
from cl_suite.report.streams import Method, StreamRuns, identity, short
from cl_suite.runs.flat import flatten
from cl_suite.runs.reading import read_text

Facts = Sequence[tuple[str, str]]
DIGITS = 12  # of a fingerprint
MOST_VALUES = 4  # different ones of a fact


def facts_of(stream: StreamRuns) -> Facts:
    """Return what was run on a stream: names and values, as text; what is not known is left out."""
    runs = one_a_folder(run for method in stream.methods for run in method.runs)
    repeats = [
        (run.task if run.task is not None else run.number) for m in stream.methods for run in m.runs
    ]
    scenario = flatten(stream.first.config.get("scenario"))
    drawn = stream.first.drawn_by_seed
    given = {key: value for key, value in scenario.items() if key != drawn and value is not None}
    parameters = [f"{key}={short(value)}" for key, value in given.items()]
    found = [
        ("parameters", ", ".join(parameters)),
        ("sessions", _sessions(stream.first)),
        ("shots a class", _distinct(runs, lambda run: _of_stream(run, "shots"))),
        ("test samples", f"{int(stream.first.hits.counts.sum()):,}"),
        (stream.repeats, in_ranges(repeats)),
        ("runs", f"{len(runs):,}"),
        ("measured by", stream.first.measured_by),
        ("data", _distinct(runs, lambda run: run.fingerprint[:DIGITS])),
        ("started", _period(runs)),
        ("versions", _merged(run.info.get("versions") for run in runs)),
        ("machine", _merged(run.info.get("machine") for run in runs)),
    ]
    return [(name, value) for name, value in found if value]


def commands(stream: StreamRuns, method: Method) -> list[str]:
    """Return the commands that repeat a method's runs to the bit, from their folders' settings.

    One command, if the settings differ in the seed alone; otherwise one a run. Commands of one page
    never write to the same folder.
    """
    runs = one_a_folder(method.runs)
    settings = [{k: v for k, v in run.config.items() if k != "seed"} for run in runs]
    out = "repeated"
    if stream.differing or method.label != method.strategy:
        # others of the same names are on the page
        known = identity([stream.first.scenario, method.settings])
        out += f"/{hashlib.sha256(known.encode()).hexdigest()[:6]}"
    if all(setting == settings[0] for setting in settings):
        seeds = ["--seed", *map(str, sorted(run.seed for run in runs))]
        return [_command(runs[0], *seeds, "--out", out)]
    return [_command(run, "--out", out) for run in runs]


def settings_text(method: Method) -> str:
    """Return all settings of a method's first run, the YAML that repeats it."""
    return read_text(method.runs[0].folder.config_file)


def one_a_folder(runs: Iterable[LoadedRun]) -> list[LoadedRun]:
    """Return the runs, one over many tasks once."""
    return list({run.folder.path: run for run in runs}.values())


def in_ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers as text, neighbours as a range.

    Example:
        >>> in_ranges([3, 0, 1, 2, 7])
        '0-3, 7'
    """
    ordered = sorted(set(numbers))
    parts = []
    for _, group in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0]):
        same = [number for _, number in group]
        parts.append(str(same[0]) if len(same) == 1 else f"{same[0]}-{same[-1]}")
    return ", ".join(parts)


def _command(run: LoadedRun, *options: str) -> str:
    return shlex.join(["cl-suite", "run", "--config", str(run.folder.config_file), *options])


def _sessions(run: LoadedRun) -> str:
    """Return the number of sessions and of the classes that each brings."""
    sizes = [len(set(classes)) for classes in _session_classes(run)]
    if not sizes:
        return str(run.hits.num_sessions)
    parts = []
    for size, same in groupby(sizes):
        num = len(list(same))
        parts.append(str(size) if num == 1 else f"{num} x {size}")
    return f"{len(sizes)}, of {' + '.join(parts)} classes"


def _session_classes(run: LoadedRun) -> list[list[int]]:
    found = _of_stream(run, "session_classes")
    if not isinstance(found, list) or not all(isinstance(classes, list) for classes in found):
        return []
    return [[c for c in classes if isinstance(c, int)] for classes in found]


def _of_stream(run: LoadedRun, name: str) -> Any:
    stream = run.info.get("stream")
    return stream.get(name) if isinstance(stream, dict) else None


def _period(runs: Sequence[LoadedRun]) -> str:
    days = sorted(str(run.info["started"])[:10] for run in runs if run.info.get("started"))
    return " to ".join(sorted({days[0], days[-1]})) if days else ""


def _merged(mappings: Iterable[object]) -> str:
    """Return names with their values as text; a name on which runs differ has several."""
    found: dict[str, list[object]] = {}
    for mapping in mappings:
        for name, value in mapping.items() if isinstance(mapping, dict) else ():
            if value is not None:
                found.setdefault(str(name), []).append(value)
    return ", ".join(f"{name} {_each_once(values)}" for name, values in found.items())


def _distinct(runs: Sequence[LoadedRun], get: Callable[[LoadedRun], object]) -> str:
    values = (get(run) for run in runs)
    return _each_once(value for value in values if value not in (None, ""))


def _each_once(values: Iterable[object]) -> str:
    """Return the different values as text, each once."""
    once = list(dict.fromkeys(map(str, values)))
    more = f" and {len(once) - MOST_VALUES} more" if len(once) > MOST_VALUES else ""
    return " / ".join(once[:MOST_VALUES]) + more
