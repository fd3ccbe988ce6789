"""Measured speed, from `benchmarks/results/speed`, as Markdown."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "speed"
HEAD = "| what | sides (median) | ratio | median (range) | bar |\n| --- | --- | --- | --- | --- |"


def tables(folder: Path = RESULTS) -> str:
    """Return a table for each file of a folder, one after another."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    if not found:
        return "No figures are in this checkout."
    return "\n\n".join(table(content) for content in found)


def table(content: dict[str, Any]) -> str:
    """Return one file as a table with the machine below it."""
    rows = [row(comparison) for comparison in content["comparisons"]]
    machine, libraries = content["machine"], content["libraries"]
    versions = ", ".join(f"{name} {version}" for name, version in libraries.items())
    said = (
        f"`{content['command']}`, {content['measured']}: {machine['cores']} cores "
        f"({machine['processor']}), load {machine['load']}; {versions}."
    )
    notes = "".join(f"\n- {note}" for note in content["notes"])
    lines = "\n".join([HEAD, *rows])
    return f"## {content['title']}\n\n{lines}\n\n{said}{chr(10) * bool(notes)}{notes}"


def row(comparison: dict[str, Any]) -> str:
    """Return one comparison; a missed bar is in bold."""
    ratios, unit = comparison["ratios"], comparison["unit"]
    sides = ", ".join(
        f"{name} {statistics.median(values):.4g}" for name, values in comparison["sides"].items()
    )
    return (
        f"| {comparison['name']} | {sides}{f' {unit}' if sides and unit else ''} "
        f"| {comparison['ratio']} | {comparison['median']:.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | {_bar(comparison)} |"
    )


def _bar(comparison: dict[str, Any]) -> str:
    bar = comparison["bar"]
    if bar is None:
        return ""
    words = f"{bar['kind']} {bar['value']:g}"
    return words if comparison["met"] else f"**{words}: missed**"
