"""Strategies, one file a method: `from cl_suite.strategies import TEENPlugin`."""

from __future__ import annotations

from cl_suite.registry import lazy_classes

__getattr__, __dir__ = lazy_classes("strategy", __name__)
