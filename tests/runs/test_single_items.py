"""A single item for a parameter that is a list: no brackets are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.parameters import Within
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.single_items import item_of, with_lists


def resolved(*arguments: str, pair: tuple[str, str] = ("omniglot", "teen")) -> RunConfig:
    (config,), _ = resolve(
        registry.get("scenario", pair[0]), registry.get("strategy", pair[1]), arguments
    )
    return config


@pytest.mark.parametrize(
    ("given", "targets"),
    [
        (["--model.lora_targets", "all-linear"], ["all-linear"]),
        (["--model.lora_targets=qkv"], ["qkv"]),
        (["--model.lora_targets", "*.qkv"], ["*.qkv"]),  # no YAML: there it is a reference
        (["--model.lora_targets", "no"], ["no"]),
        (["--model.lora_targets", "1"], ["1"]),
        (["--model.lora_targets", "[q, v]"], ["q", "v"]),
        (["--model.lora_targets", "null"], None),
        (["--model.lora_targets+", "fc1", "--model.lora_targets+", "fc2"], ["fc1", "fc2"]),
    ],
)
def test_a_word_is_a_list_of_one(given: list[str], targets: list[str] | None) -> None:
    assert resolved(*given).model.lora_targets == targets


def test_every_list_takes_one_item_whatever_its_items_are() -> None:
    config = resolved(
        *("--model.bank_views", "flip", "--model.frozen", "true"),
        *("--training.milestones", "50", "--evaluation.probes=knn"),
    )
    assert config.model.bank_views == ["flip"]
    assert config.training.milestones == [50]
    assert config.evaluation.probes == ["knn"]
    clip = ["--strategy.class_names", "a red maple", "--model.backbone", "clip:x"]
    assert resolved(*clip, pair=("omniglot", "zero_shot_clip")).strategy.class_names == [
        "a red maple"
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["--model.bank_views", "flop"],
            "model.bank_views must be flip, corners, random:N or simclr:N",
        ),
        (["--training.milestones", "x"], "--training.milestones must be a list, got 'x'"),
        (
            ["--training.milestones", "1.5"],
            "--training.milestones must be a whole number, got '1.5'",
        ),
        # a list that lacks its brackets
        (["--model.lora_targets", "q,v"], "a list whose items must be text, got 'q,v'"),
    ],
)
def test_a_wrong_item_is_refused(given: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        resolved(*given)
    assert sentence in str(refused.value)


def test_a_parameter_that_need_not_be_a_list_keeps_its_word() -> None:
    folder = ("--scenario.root", "x", "--scenario.base_classes", "1")
    config = resolved(*folder, "--scenario.class_order", "natural", pair=("image_folder", "teen"))
    assert config.scenario.class_order == "natural"


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[str] | None, str),
        (Sequence[Annotated[int, Within(0)]], Annotated[int, Within(0)]),
        (Annotated[list[int], Within(0)], int),
        (tuple[str, ...], str),
        (list, Any),
        (Literal["a"] | list[Any], None),
        (str | list[str], None),
        (str, None),
        (dict[str, str], None),
        (None, None),
    ],
)
def test_which_annotations_are_lists(annotation: Any, item: Any) -> None:
    assert item_of(annotation) == item


def test_only_the_word_after_the_option_is_its_item() -> None:
    known = {"model.bank_views": list[str]}
    given = ["--model.bank_views", "flip", "corners", "--seed", "flip"]
    assert with_lists(given, known) == ["--model.bank_views", '["flip"]', *given[2:]]
