"""The pytest plugin: one case for each check, and the fixture of a tiny stream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cl_suite.strategies import PrototypePlugin, ZeroShotCLIPPlugin
from cl_suite.testing import CHECKS, strategy_checks

# as an author writes it; some of the checks, as all of them run for our own strategies
test_contract = strategy_checks(PrototypePlugin, normalize_features=True)

PROGRAM = """
from dataclasses import dataclass

from cl_suite.plugin import StrategyPlugin
from cl_suite.testing import strategy_checks


@dataclass(kw_only=True, eq=False)
class Bare(StrategyPlugin):
    rate: float = 1.0


test_contract = strategy_checks(Bare)


def test_the_stream_is_tiny(tiny_stream):
    assert tiny_stream.info.num_sessions == 3
"""


def run_pytest(program: str, folder: Path, *options: str) -> str:
    (folder / "test_program.py").write_text(program)
    result = subprocess.run(
        # by its module, whether or not an installation announces it
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cl_suite", "-p", "no:cacheprovider"),
            *("-p", "cl_suite.testing.pytest_plugin", "--tb=line", "-rA", *options),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return result.stdout + result.stderr


def test_an_author_gets_a_case_for_each_check_and_a_stream(tmp_path: Path) -> None:
    words = "numbers_have_ranges or unknown_parameter or stream"
    out = run_pytest(PROGRAM, tmp_path, "-k", words)
    assert "PASSED test_program.py::test_contract[unknown_parameter_is_refused]" in out
    assert "FAILED test_program.py::test_contract[numbers_have_ranges]" in out
    assert "rate has no range" in out
    assert "PASSED test_program.py::test_the_stream_is_tiny" in out


def test_every_check_is_a_case() -> None:
    (mark,) = strategy_checks(PrototypePlugin).pytestmark
    assert mark.args == ("check", CHECKS)


def test_a_check_that_does_not_fit_is_skipped() -> None:
    (check,) = [check for check in CHECKS if "foreign" in check.__name__]
    with pytest.raises(pytest.skip.Exception, match="reads no text"):
        strategy_checks(ZeroShotCLIPPlugin)(check)
