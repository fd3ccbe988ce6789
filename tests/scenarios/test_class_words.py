from __future__ import annotations

import pytest

from cl_suite.data.readers import cub200, mini_imagenet
from cl_suite.data.readers.class_words import is_code
from cl_suite.scenarios.class_incremental import ClassIncremental
from cl_suite.scenarios.fscil import FSCIL


@pytest.mark.parametrize(
    "name", ["", "  ", "7", "0042", "n01532829", "001.Bird_A", "12_crow", "3."]
)
def test_numbers_and_codes_are_codes(name: str) -> None:
    assert is_code(name)


@pytest.mark.parametrize("name", ["crow", "n0153", "3d printer", "boeing 737", "n01532829 finch"])
def test_words_are_no_codes(name: str) -> None:
    assert not is_code(name)


def test_mini_imagenet_is_named_by_words(mini_root: object) -> None:
    names = mini_imagenet.read(str(mini_root)).class_names
    assert (names[60], names[99]) == ("hourglass", "ear")
    # no words are known of the made-up numbers of the tiny base classes
    assert names[0] == "n00000000"


def test_the_birds_are_named_by_words_in_every_scenario(cub_root: object) -> None:
    assert cub200.read(str(cub_root)).class_names[0] == "base bird"
    root = str(cub_root)
    one = FSCIL(dataset="cub200", root=root).build().info
    other = ClassIncremental(source="cub200", root=root).build().info
    assert one.class_names == other.class_names
    assert not any(map(is_code, one.class_names))
