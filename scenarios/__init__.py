"""Scenarios, one file for each family of streams: `from cl_suite.scenarios import Omniglot`."""

from __future__ import annotations

from cl_suite.registry import lazy_classes

__getattr__, __dir__ = lazy_classes("scenario", __name__)
