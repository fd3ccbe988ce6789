from types import SimpleNamespace
from typing import Any

import pytest

from cl_suite.models.settings import ModelConfig
from cl_suite.runs.benchmark.pretraining import _table, seen_in_pretraining


def config(dataset: str, **model: Any) -> Any:
    scenario = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=ModelConfig(**model), scenario=scenario, scenario_name="fscit_any")


@pytest.mark.parametrize(
    ("dataset", "model", "word"),
    [
        ("mini_imagenet", {"backbone": "conv4"}, "none"),
        ("mini_imagenet", {"backbone": "deit_tiny_patch16_224", "pretrained": True}, "contains"),
        ("omniglot", {"backbone": "tf_efficientnet_lite0", "pretrained": True}, "disjoint"),
        ("gtsrb", {"backbone": "deit_tiny_patch16_224", "pretrained": True}, "unknown"),
        ("cub200", {"backbone": "some_network", "pretrained": True}, "unknown"),
    ],
)
def test_a_networks_pretraining_is_looked_up(
    dataset: str, model: dict[str, Any], word: str
) -> None:
    assert seen_in_pretraining(config(dataset, **model))[0] == word


def test_weights_from_a_file_count_as_the_published_ones() -> None:
    asked = config("cub200", backbone="deit_tiny_patch16_224", weights="some.safetensors")
    word, why = seen_in_pretraining(asked)
    assert word == "contains"
    assert why.startswith("imagenet_1k: ")


@pytest.mark.parametrize(
    ("dataset", "second", "word"),
    [
        ("omniglot", "deit_tiny_patch16_224", "disjoint"),
        ("omniglot", "some_network", "unknown"),
        ("mini_imagenet", "some_network", "contains"),
    ],
)
def test_of_two_networks_the_worse_counts(dataset: str, second: str, word: str) -> None:
    both = {"backbone": "tf_efficientnet_lite0", "beside": second, "pretrained": True}
    assert seen_in_pretraining(config(dataset, frozen=True, **both))[0] == word


def test_the_table_says_why_for_every_pair() -> None:
    table = _table()
    assert set(table["networks"].values()) <= {*table["data"], "web"}
    for pairs in table["data"].values():
        for entry in pairs.values():
            assert entry["is"] in ("contains", "disjoint")
            assert entry["why"]
