"""Every numeric parameter of every scenario has a range, and values outside it are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.numeric_parameters import as_options, bad_values, numbers_of, required_of
from helpers.tiny_runs import refused

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.runs import config

# of each class one
NAMES = {registry.get("scenario", name).class_path: name for name in registry.entries("scenario")}
every_class = pytest.mark.parametrize("name", sorted(NAMES.values()))


@every_class
def test_every_number_among_its_parameters_has_a_range(name: str) -> None:
    numbers = numbers_of(registry.get("scenario", name))
    assert [parameter for parameter, number in numbers.items() if not number.limits] == []


@every_class
def test_a_number_out_of_range_or_none_at_all_is_refused_in_a_program(name: str) -> None:
    entry = registry.get("scenario", name)
    given = {**(entry.settings.get("params") or {}), **required_of(entry)}
    for parameter, number in numbers_of(entry).items():
        for value in bad_values(number):
            with pytest.raises(UserError, match=f"^{parameter} "):
                entry.load()(**{**given, parameter: value})


@every_class
def test_a_number_out_of_range_or_none_at_all_is_refused_on_the_command_line(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry, out = registry.get("scenario", name), tmp_path / "runs"
    parser = config.build_parser(entry, registry.get("strategy", "finetune"))
    monkeypatch.setattr(config, "build_parser", lambda *_: parser)
    for parameter, number in numbers_of(entry).items():
        for value in bad_values(number):
            options = as_options("scenario", {**required_of(entry), parameter: value})
            error = refused(capsys, "run", name, "finetune", *options, "--out", str(out))
            assert error.startswith(f"cl-suite: --scenario.{parameter} ")
    assert not out.exists()
