"""Strategies, one method per file: `from cl_suite.strategies import TEENPlugin`."""

from __future__ import annotations

from cl_suite.registry import lazy_classes

__getattr__, __dir__ = lazy_classes(
    "strategy", __name__, aliases={"CoconutPlugin": "COCONUTPlugin"}
)
