"""Measured figures from `benchmarks/results/*.json`, where there are any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"


def rows_of(strategy: str, folder: Path = RESULTS) -> str:
    """Return the measured rows of a strategy as Markdown, one table after the other; or ""."""
    parts = []
    for content in _tables(folder):
        rows = [row for row in content["rows"] if row.get("strategy") == strategy]
        if rows:
            parts.append(f"### {content['title']}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def page(folder: Path = RESULTS) -> str:
    """Return all tables as one page; `docs/tables.py` replaces it if it is there."""
    parts = [f"## {content['title']}\n\n{_table(content['rows'])}" for content in _tables(folder)]
    return "\n\n".join(["# Results", *(parts or ["No results are in this checkout."])])


def _tables(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and {"title", "rows"} <= content.keys():
            yield content


def _table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in rows:
        label = ", ".join(text for text in (row.get("group"), row["label"]) if text)
        cells = (_figure(row["figures"].get(name)) for name in names)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["mean"] is None:
        return ""
    width = figure.get("half_width")
    return f"{figure['mean']:.2f}" + ("" if width is None else f" ± {width:.2f}")
