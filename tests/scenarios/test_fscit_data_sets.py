"""FSCIT on data sets with readers of their own: names, channels and cuts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.fscit_streams import build


def test_omniglot_needs_no_data_and_gets_colour_channels() -> None:
    stream = build(None, "omniglot", base_classes=26, way=24, shots=10, image_size=28)
    assert [len(c) for c in stream.info.session_classes] == [26] + 9 * [24]
    assert stream.info.input_shape == (3, 28, 28)
    assert [len(s) for s in stream.train] == [260] + 9 * [240]
    assert stream.info.notes == ()


def test_birds_are_named_in_words(cub_root: Path) -> None:
    stream = build(cub_root, "cub200", base_classes=20, way=20)
    assert stream.info.class_names[0] == "base bird"
    assert stream.info.class_names[199] == "common yellowthroat"
    assert stream.info.num_sessions == 10


def test_imagenets_numbers_are_named_in_words(mini_root: Path) -> None:
    stream = build(mini_root, "mini_imagenet", base_classes=10, way=10)
    assert stream.info.class_names[60] == "hourglass"
    assert stream.info.class_names[0] == "n00000000"  # a made-up class keeps its number
    assert {len(s) for s in stream.train} == {20}


def test_real_subset_is_cut_and_named(shared: Path) -> None:
    root = shared / "data" / "miniimagenet"
    if not root.is_dir():
        pytest.skip("needs ../shared/data/miniimagenet, a subset for research only")
    stream = build(root, "mini_imagenet", base_classes=10, way=10, shots=5)
    assert stream.info.class_names[0] == "house finch"
    assert len(set(stream.info.class_names)) == 100
    assert [len(s) for s in stream.train] == 10 * [50]
    assert [len(s) for s in stream.test] == 10 * [200]
    assert stream.train[0][0][0].shape == (3, 84, 84)


def test_cifars_fine_classes_are_cut(fake_cifar: SimpleNamespace) -> None:
    stream = build(fake_cifar.root, "cifar100", base_classes=10, way=10, shots=10)
    assert [len(s) for s in stream.train] == 10 * [100]
    assert [len(s) for s in stream.test] == 10 * [1000]
    assert len(stream.info.notes) == 1


def test_a_folder_of_ones_own_keeps_its_names(picture_folder: Path) -> None:
    stream = build(picture_folder, "image_folder")
    assert stream.info.class_names == tuple(f"kind{i}" for i in range(7))
    assert stream.info.notes == ()


def test_resisc45s_root_may_be_its_own_folder(image_sets_root: Path) -> None:
    outer = build(image_sets_root, "resisc45", base_classes=2, way=1)
    inner = build(image_sets_root / "NWPU-RESISC45", "resisc45", base_classes=2, way=1)
    assert outer.info.fingerprint == inner.info.fingerprint
    assert outer.info.class_names == ("airplane", "baseball diamond", "sea ice", "wetland")
