"""Measured figures, as `docs/tables.py` reads them from `benchmarks/results`."""

from __future__ import annotations

import importlib
from types import ModuleType


def rows_of(strategy: str) -> str:
    """Return what was measured of a strategy, beside its baselines, as Markdown; or ""."""
    tables = _tables()
    if tables is None:
        return ""
    return "\n\n".join(tables.markdown(part, level=3) for part in tables.rows_of(strategy))


def page() -> str:
    """Return the page of all results as Markdown."""
    tables = _tables()
    if tables is None:
        return "# Results\n\nNo results are in this checkout.\n"
    return str(tables.page(tables.load_all()))


def _tables() -> ModuleType | None:
    try:
        return importlib.import_module("tables")
    except ModuleNotFoundError:
        return None
