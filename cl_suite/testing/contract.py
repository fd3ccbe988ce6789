"""What every method must do, as named checks that an author runs over a class of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cl_suite.testing.checks.avalanche import AVALANCHE_CHECKS
from cl_suite.testing.checks.learning import LEARNING_CHECKS
from cl_suite.testing.checks.parameters import PARAMETER_CHECKS
from cl_suite.testing.checks.processes import PROCESS_CHECKS
from cl_suite.testing.checks.reach import REACH_CHECKS
from cl_suite.testing.checks.state import STATE_CHECKS
from cl_suite.testing.subject import DoesNotApply, Subject

Check = Callable[[Subject], None]
CHECKS: tuple[Check, ...] = (
    *PARAMETER_CHECKS,
    *LEARNING_CHECKS,
    *STATE_CHECKS,
    *REACH_CHECKS,
    *AVALANCHE_CHECKS,
    *PROCESS_CHECKS,
)


def subject_of(strategy: type, /, **parameters: Any) -> Subject:
    """Return a class as the checks make and train it, with the recipe of its `default_config`."""
    return Subject(strategy, parameters, getattr(strategy, "default_config", {}))


def check_strategy(strategy: type, /, **parameters: Any) -> None:
    """Run every check that fits what a method requires.

    Training runs on tiny streams and a small random network, by the recipe of the class's
    `default_config`, whose lengths are cut.

    Args:
        strategy: the class.
        parameters: to make it with; the defaults otherwise.

    Raises:
        AssertionError: at the first check that fails, with its name.
    """
    subject = subject_of(strategy, **parameters)
    for check in CHECKS:
        run_check(check, subject)


def run_check(check: Check, subject: Subject) -> str | None:
    """Run one check; return why it does not apply, None if it holds.

    Raises:
        AssertionError: if it fails, with its name.
    """
    try:
        check(subject)
    except DoesNotApply as reason:
        return str(reason)
    except Exception as error:
        raise AssertionError(
            f"{subject.name} fails {check.__name__}: {error or type(error).__name__}"
        ) from error
    return None
