"""What a run changes of its pair's defaults, and the command that repeats it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import yaml

from cl_suite import registry
from cl_suite.runs.changed import changed_settings, repeating_command
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.flat import flatten


def config_of(*arguments: str, pair: tuple[str, str] = ("omniglot", "finetune")) -> RunConfig:
    entries = registry.get("scenario", pair[0]), registry.get("strategy", pair[1])
    (config,), _ = resolve(*entries, ["--device", "cpu", *arguments])
    return config


def test_defaults_seed_and_device_are_left_out() -> None:
    assert changed_settings(config_of("--seed", "3", "--training.lr", "0.1")) == {}


def test_a_changed_setting_is_there_with_its_value() -> None:
    given = ("--training.lr", "0.5", "--training.milestones=[3, 5]", "--model.frozen", "true")
    assert changed_settings(config_of(*given)) == {
        "training.lr": 0.5,
        "training.milestones": [3, 5],
        "model.frozen": True,
    }


def test_a_value_of_the_strategys_recipe_is_a_default() -> None:
    # finetune's recipe has ten epochs for later sessions, where the constructor has none
    assert changed_settings(config_of("--training.incremental_epochs", "10")) == {}
    assert changed_settings(config_of("--training.incremental_epochs", "9"))


def test_a_draw_that_follows_the_seed_and_a_logger_are_no_changes() -> None:
    config = config_of("--seed", "2", "--logging.loggers", "csv", pair=("cfsl", "cfsl"))
    assert changed_settings(config) == {}


def test_the_command_gives_the_same_settings_again(tmp_path: Path) -> None:
    place = tmp_path / "a folder"
    place.mkdir()
    first = config_of(
        *("--seed", "4", "--training.milestones=[3, 5]", "--start-from", str(place)),
        *("--training.batch_size", "16"),
    )
    command = shlex.split(repeating_command(first))
    assert command[:4] == ["cl-suite", "run", "omniglot", "finetune"]
    again = config_of(*command[4:])
    assert flatten(yaml.safe_load(again.text)) == flatten(yaml.safe_load(first.text))


def test_a_scenario_without_a_name_in_the_registry_has_nothing_to_compare() -> None:
    config = config_of("--training.base_epochs", "3")
    assert changed_settings(replace(config, scenario_name="of_a_program")) == {}
