"""A wrapper's requirements and answers are those of its host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import refused

from cl_suite.requirements import requirements_of
from cl_suite.strategies import CLERPlugin, FPFPlugin

WRAPPERS = {"cler": CLERPlugin, "fpf": FPFPlugin}
ANY_KIND = {"class", "data", "domain", "mixed"}
every_wrapper = pytest.mark.parametrize("wrapper", WRAPPERS)


def stated(plugin: Any) -> tuple[bool, set[str]]:
    """Return whether a strategy must be told the session, and the kinds of streams it takes."""
    requirements = requirements_of(plugin)
    return requirements.session_told, set(requirements.kinds)


@every_wrapper
@pytest.mark.parametrize(
    ("host", "session_told", "kinds"),
    [
        ("picle", True, {"class"}),
        ("mamlcon", False, {"class"}),
        ("er", False, ANY_KIND),
        ("replay", False, ANY_KIND),  # Avalanche's, which states nothing
    ],
)
def test_a_wrapper_needs_the_session_and_takes_the_kinds_that_its_host_does(
    wrapper: str, host: str, session_told: bool, kinds: set[str]
) -> None:
    assert stated(WRAPPERS[wrapper](host=host)) == (session_told, kinds)


@every_wrapper
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "problem_sequence {} --strategy.host picle --evaluation.task_known false",
            "predicts only if it knows a sample's session",
        ),
        (
            "data_incremental {} --strategy.host teen --model.head cosine",
            "learns only from streams of new classes",
        ),
    ],
)
def test_a_run_asks_the_host_through_the_wrapper(
    wrapper: str,
    command: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, "run", *command.format(wrapper).split(), "--device", "cpu")
