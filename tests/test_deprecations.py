"""Deprecated calls are errors in our own code and silent in libraries."""

from __future__ import annotations

import warnings

import pytest

KINDS = [DeprecationWarning, PendingDeprecationWarning, FutureWarning]


def call_from(module: str, kind: type[Warning]) -> None:
    """Warn as a library does of a call that a module of this name makes."""
    source = "def caller(deprecated): deprecated()"
    namespace = {"__name__": module}
    exec(source, namespace)
    namespace["caller"](lambda: warnings.warn("will go", kind, stacklevel=2))  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("module", ["cl_suite.runs.config", "cl_suite.strategies.teen"])
def test_a_deprecated_call_of_ours_fails_a_test(module: str, kind: type[Warning]) -> None:
    with pytest.raises(kind, match="will go"):
        call_from(module, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_deprecated_call_inside_a_library_passes(kind: type[Warning]) -> None:
    call_from("avalanche.training.templates", kind)
