"""For pytest: a tiny stream as a fixture, and the contract as one case for each check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cl_suite.data.stream import Stream
    from cl_suite.testing.contract import Check


@pytest.fixture
def tiny_stream() -> Stream:
    """Three sessions of noisy patterns, `(1, 16, 16)`; see `cl_suite.testing.make_stream`."""
    from cl_suite.testing.streams import make_stream

    return make_stream()


def strategy_checks(strategy: type, /, **parameters: Any) -> Callable[..., None]:
    """Return a test function with a case for each check of `check_strategy`.

        test_contract = strategy_checks(MeanPlugin, scale=2)

    A check that does not fit what the method requires is skipped.

    Args:
        strategy: the class.
        parameters: to make it with; the defaults otherwise.
    """
    from cl_suite.testing.contract import CHECKS, run_check, subject_of

    @pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
    def test_contract(check: Check) -> None:
        reason = run_check(check, subject_of(strategy, **parameters))
        if reason is not None:
            pytest.skip(reason)

    return test_contract
