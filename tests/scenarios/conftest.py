"""Tiny folders in the layouts of the data sets, with the published lists' file names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from helpers.tiny_cifar import write_cifar100
from helpers.tiny_image_sets import write_all
from helpers.tiny_layouts import write_cub200, write_image, write_mini_imagenet
from helpers.tiny_sounds import write_digits, write_spoken_words

from cl_suite.data.readers import cifar100, published


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny miniImageNet; tests must not change it."""
    return write_mini_imagenet(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def cub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny CUB-200; tests must not change it."""
    return write_cub200(tmp_path_factory.mktemp("cub") / "CUB_200_2011")


@pytest.fixture
def own_mini_root(tmp_path: Path) -> Path:
    """A tiny miniImageNet to spoil."""
    return write_mini_imagenet(tmp_path)


@pytest.fixture
def own_cub_root(tmp_path: Path) -> Path:
    """A tiny CUB-200 to spoil."""
    return write_cub200(tmp_path)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Seven classes of ten pictures of several sizes."""
    for class_id in range(7):
        for index in range(10):
            size = (20 + 4 * (index % 3), 24)
            write_image(tmp_path / f"kind{class_id}" / f"{index}.png", 30 * class_id + index, size)
    return tmp_path


@pytest.fixture(scope="session")
def spoken_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four spoken digits of three speakers, five takes each; tests must not change them."""
    return write_digits(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="session")
def words_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four words of four speakers, two takes each; tests must not change them."""
    return write_spoken_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="session")
def image_sets_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tiny data sets in torchvision's layouts, side by side; tests must not change them."""
    with pytest.MonkeyPatch.context() as patch:  # the lists of Oxford flowers are generated too
        patch.setattr(torchvision.datasets.flowers102, "check_integrity", lambda *_: True)
        yield write_all(tmp_path_factory.mktemp("image_sets"))


# numpy views of 50,000 images of zeros cost no memory until they are copied
EMPTY_PIXEL = np.zeros((1, 1, 1, 3), dtype=np.uint8)


def labels_that_fit_the_lists() -> list[int]:
    """Return 500 labels of each of 100 classes, in an order that suits the lists."""
    wanted = {
        int(line.entry): 60 + position // 5
        for position, line in enumerate(published.load("cifar100"))
    }
    remaining = [c for c in range(100) for _ in range(500 if c < 60 else 495)]
    return [wanted[row] if row in wanted else remaining.pop() for row in range(50_000)]


@pytest.fixture
def fake_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The archive's labels without its files, as the published lists need all 50,000."""
    for entry in cifar100.LAYOUT:
        (tmp_path / entry).parent.mkdir(exist_ok=True)
        (tmp_path / entry).touch()
    train = SimpleNamespace(
        data=np.broadcast_to(EMPTY_PIXEL, (50_000, 4, 4, 3)).copy(),
        targets=labels_that_fit_the_lists(),
        classes=[f"fine {i}" for i in range(100)],
    )
    test = SimpleNamespace(
        data=np.broadcast_to(EMPTY_PIXEL, (10_000, 4, 4, 3)).copy(),
        targets=[i % 100 for i in range(10_000)],
        classes=train.classes,
    )
    monkeypatch.setattr(cifar100, "_archive", lambda root, train: parts[train])
    parts = {True: train, False: test}
    return SimpleNamespace(root=str(tmp_path), train=train, test=test)


@pytest.fixture
def pickled_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny archive in the original format whose checksums are taken as good."""
    write_cifar100(tmp_path, train=6, test=2)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    return str(tmp_path)
