"""Protocols are read from their files, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cl_suite.errors import UserError
from cl_suite.runs.benchmark.protocol import Draws, names, read_protocol

SMALL = {
    "scenarios": ["omniglot"],
    "reference": "prototype",
    "strategies": ["teen"],
    "draws": {"drawn": {"grid": {"scenario.shot_seed": [0, 1]}}},
}


def written(folder: Path, **changes: object) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return str(path)


@pytest.mark.parametrize("name", sorted(names()))
def test_every_built_in_protocol_is_well_formed_and_has_a_summary(name: str) -> None:
    protocol = read_protocol(name)
    assert protocol.name == name
    assert protocol.summary
    assert protocol.draws


def test_a_file_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    protocol = read_protocol(written(tmp_path, only={"teen": ["drawn"]}))
    assert protocol.name == "mine"
    assert protocol.draws == {"drawn": Draws(grid={"scenario.shot_seed": [0, 1]})}
    assert protocol.runs_on("teen", "drawn")
    assert protocol.runs_on("prototype", "drawn")


def test_a_row_can_be_limited_to_some_draws(tmp_path: Path) -> None:
    draws = {**SMALL["draws"], "published": {}}  # type: ignore[dict-item]
    protocol = read_protocol(written(tmp_path, draws=draws, only={"teen": ["published"]}))
    assert not protocol.runs_on("teen", "drawn")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": ["teen"]}, "has key 'strategy', which is unknown; did you mean 'strategies'"),
        ({"strategies": None}, "has no strategies"),
        ({"strategies": "teen"}, "strategies must be a list of names, got 'teen'"),
        ({"strategies": ["tean"]}, "strategy 'tean' is unknown; did you mean 'teen'"),
        ({"scenarios": ["omniglott"]}, "scenario 'omniglott' is unknown"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
        ({"measure": ["lineal"]}, "measure has 'lineal'; did you mean 'linear'"),
        ({"set": {"lr": 1}}, "set has 'lr'; name a setting"),
        ({"draws": {"a": {"similar": "far"}}}, "similar must be apart or together, got 'far'"),
        ({"draws": {"a": {"sets": {}}}}, "draws.a has key 'sets'; did you mean 'set'"),
        ({"draws": {"../a": {}}}, "must be named by letters"),
        ({"draws": {"a": {"grid": {"scenario.way": 5}}}}, "scenario.way must have a list of"),
        ({"only": {"teen": ["dawn"]}}, "only has 'dawn'; did you mean 'drawn'"),
        ({"only": {"prototype": ["drawn"]}}, "only names 'prototype', which every draw needs"),
        ({"tune": {"teen": {"strategy.x": []}}}, "strategy.x must have a list of values"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_protocol(written(tmp_path, **changes))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"benchmark 'fscl' is unknown .*; did you mean 'fscil'\?"):
        read_protocol("fscl")
