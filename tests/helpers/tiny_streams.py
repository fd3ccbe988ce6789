"""Streams small enough for unit tests, as method authors get them too."""

from __future__ import annotations

from cl_suite.testing.streams import make_samples, make_stream

__all__ = ["make_samples", "make_stream"]
