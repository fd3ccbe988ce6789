from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from cl_suite import registry
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.settings import ModelConfig
from cl_suite.scenarios.fscit import PROTOCOLS

NAMES = (
    "avalanche",
    "cifar100",
    "class_incremental",
    "cub200",
    "data_incremental",
    "domain_incremental",
    "fscit",
    "image_folder",
    "mini_imagenet",
    "omniglot",
    "problem_sequence",
    "spoken_digits",
    "spoken_words",
    *(f"fscit_{dataset}" for dataset in PROTOCOLS),
)


@pytest.mark.parametrize("name", NAMES)
def test_settings_name_what_exists(name: str) -> None:
    entry = registry.get("scenario", name)
    signature = inspect.signature(entry.load())
    assert entry.settings["params"].keys() <= signature.parameters.keys()
    assert entry.settings["model"].keys() <= {f.name for f in fields(ModelConfig)}
    assert entry.settings["training"].keys() <= {f.name for f in fields(TrainingConfig)}
    TrainingConfig(**entry.settings["training"])


@pytest.mark.parametrize("name", NAMES)
def test_params_deviate_from_the_constructors_defaults(name: str) -> None:
    entry = registry.get("scenario", name)
    signature = inspect.signature(entry.load())
    for key, value in entry.settings["params"].items():
        assert signature.parameters[key].default != value


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_one_line(name: str) -> None:
    summary = registry.get("scenario", name).summary
    assert 20 < len(summary) < 100
    assert "\n" not in summary
