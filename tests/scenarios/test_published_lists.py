from __future__ import annotations

import pickle
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision

from cl_suite.data.readers import published
from cl_suite.errors import UserError
from cl_suite.scenarios.fscil import FSCIL

MiniImageNet = partial(FSCIL, dataset="mini_imagenet")
CIFAR100 = partial(FSCIL, dataset="cifar100")
CUB200 = partial(FSCIL, dataset="cub200")


def listed(name: published.Lists, session: int) -> list[str]:
    return [line.entry for line in published.load(name) if line.session == session]


# --- the published lists


@pytest.mark.parametrize(
    ("name", "sessions", "per_session"),
    [("mini_imagenet", 8, 25), ("cifar100", 8, 25), ("cub200", 10, 50)],
)
def test_lists_have_the_protocols_sessions(
    name: published.Lists, sessions: int, per_session: int
) -> None:
    counts = Counter(line.session for line in published.load(name))
    assert counts == dict.fromkeys(range(1, sessions + 1), per_session)
    assert len({line.entry for line in published.load(name)}) == sessions * per_session


def test_a_list_in_session_one_comes_from_file_two() -> None:
    first = published.load("cifar100")[0]
    assert (first.entry, first.file, first.session) == ("29774", "session_2.txt", 1)


def test_last_list_begins_as_published() -> None:
    assert listed("cifar100", 8)[:5] == ["30463", "34580", "5230", "6813", "48605"]


def test_a_damaged_list_is_refused() -> None:
    with pytest.raises(UserError, match=r"index list 'session_2.txt' .* is damaged; reinstall"):
        published._lines(b"1\n2\n", "session_2.txt", "0" * 40)


# --- CIFAR-100


def test_cifar_has_the_protocols_sizes(fake_cifar: SimpleNamespace) -> None:
    stream = CIFAR100(root=fake_cifar.root).build()
    assert [len(s) for s in stream.train] == [30_000] + 8 * [25]
    assert stream.info.notes == ()
    assert [len(s) for s in stream.test] == [6000] + 8 * [500]
    assert sum(len(s) for s in stream.test[:4]) == 7500
    assert sum(len(s) for s in stream.test) == 10_000
    assert (stream.info.way, stream.info.shots) == (5, 5)


def test_cifar_classes_come_in_label_order(fake_cifar: SimpleNamespace) -> None:
    classes = CIFAR100(root=fake_cifar.root).build().info.session_classes
    assert classes[0] == tuple(range(60))
    assert classes[8] == (95, 96, 97, 98, 99)


def test_cifar_shots_are_the_published_ones(fake_cifar: SimpleNamespace) -> None:
    rows = [int(entry) for entry in listed("cifar100", 3)]
    for rank, row in enumerate(rows):
        fake_cifar.train.data[row] = rank + 1
    shots = CIFAR100(root=fake_cifar.root).build().train[3]
    assert [int(shots[i][0][0, 0, 0]) for i in range(25)] == list(range(1, 26))


def test_cifar_labels_that_do_not_fit_the_lists_are_refused(fake_cifar: SimpleNamespace) -> None:
    fake_cifar.train.targets[29774] = 80
    with pytest.raises(UserError, match="labels of the data set do not fit the published lists"):
        CIFAR100(root=fake_cifar.root).build()


def test_cifar_files_are_read_in_order(pickled_cifar: str) -> None:
    stream = CIFAR100(root=pickled_cifar, shot_selection="random").build()
    assert stream.info.class_names[60] == "fine 60"
    assert stream.info.input_shape == (3, 32, 32)
    assert [len(s) for s in stream.train] == [360] + 8 * [25]
    # the archive stores red, green and blue planes one after another
    file = Path(pickled_cifar) / "cifar-100-python" / "train"
    raw = pickle.loads(file.read_bytes())  # CIFAR-100's own form, written by this test
    image, label = stream.train[0][0]
    assert label == 0
    assert torch.equal(image.flatten(), torch.from_numpy(raw["data"][0]))


def test_cifar_image_size_enlarges_the_input(pickled_cifar: str) -> None:
    stream = CIFAR100(root=pickled_cifar, shot_selection="random", image_size=48).build()
    assert stream.info.input_shape == (3, 48, 48)


def test_cifar_autoaugment_goes_on_the_training_images(pickled_cifar: str) -> None:
    stream = CIFAR100(
        root=pickled_cifar, shot_selection="random", augmentation="autoaugment"
    ).build()
    assert "AutoAugment(policy='cifar10'" in repr(stream.info.train_transform)
    assert "AutoAugment" not in stream.info.preprocessing
    assert stream.info.train_transform(stream.train[0][0][0]).shape == (3, 32, 32)


def test_cifar_with_a_wrong_checksum_is_never_unpickled(
    pickled_cifar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: False)
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("a bad file was unpickled"))
    with pytest.raises(UserError, match=r"damaged or not the original .* MD5 .*; get it again"):
        CIFAR100(root=pickled_cifar).build()


# --- all three

SCENARIOS: list[Any] = [MiniImageNet, CIFAR100, CUB200]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (MiniImageNet, "split/train.csv"),
        (CIFAR100, "cifar-100-python/train"),
        (CUB200, "train_test_split.txt"),
    ],
)
def test_a_missing_root_says_the_expected_layout(
    scenario: Any, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"is not a folder; it must hold .*{expected}"):
        scenario(root=str(tmp_path / "nowhere")).build()
    with pytest.raises(UserError, match=f"is missing in .*; the folder must hold .*{expected}"):
        scenario(root=str(tmp_path)).build()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_empty_root_is_not_the_current_folder(scenario: Any) -> None:
    with pytest.raises(UserError, match="root '' is not a folder"):
        scenario(root="").build()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_constructor_only_stores(scenario: Any) -> None:
    made = scenario(root="nowhere", way=1000, shot_selection="random")
    assert (made.root, made.way, made.shot_selection) == ("nowhere", 1000, "random")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"shots": 6}, "shots must be at most 5 for the published shots, got 6; use shot_sel"),
        ({"base_classes": 50}, "base_classes must be at least 60 for the published shots, got 50"),
        ({"base_classes": 101}, "base_classes is 101, but there are 100 classes"),
        ({"shot_selection": "cec"}, "shot_selection must be one of published, random, got 'cec'"),
        (
            {"augmentation": "strong"},
            "augmentation must be one of standard, autoaugment, got 'strong'",
        ),
        ({"image_size": 0}, r"image_size must be in \[2, 4096\], or null, got 0"),
        ({"shot_selection": "random", "shots": 9}, "too few images to learn from"),
        ({"base_shots": 0}, "base_shots must be at least 1, or null, got 0"),
    ],
)
def test_a_bad_parameter_is_refused(
    mini_root: Path, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        MiniImageNet(root=str(mini_root), **parameters).build()


def test_a_class_without_test_images_is_refused(own_mini_root: Path) -> None:
    path = own_mini_root / "split" / "test.csv"
    lines = [line for line in path.read_text().splitlines() if not line.endswith(",n00000003")]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="'n00000003' has no test image, so it cannot be measured"):
        MiniImageNet(root=str(own_mini_root)).build()
