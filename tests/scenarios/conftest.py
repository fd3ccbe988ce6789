"""Tiny folders in the layouts of the data sets, with the published lists' file names."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from PIL import Image
from tiny_image_sets import write_all
from tiny_sounds import write_digits

from cl_suite.data.readers import cifar100, published


def write_image(path: Path, colour: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour % 256, 40, 200)).save(path)


def write_mini_imagenet(root: Path) -> Path:
    listed = [Path(line.entry) for line in published.load("mini_imagenet")]
    base = [f"n{number:08d}" for number in range(60)]
    novel = list(dict.fromkeys(path.parent.name for path in listed))
    train = [(f"{label}{i:08d}.jpg", label) for label in base for i in range(3)]
    train += [(path.name, path.parent.name) for path in listed]
    test = [(f"{label}9{i:07d}.jpg", label) for label in [*base, *novel] for i in range(2)]
    for part, rows in (("train", train), ("test", test)):
        lines = ["filename,label", *(f"{name},{label}" for name, label in rows)]
        (root / "split").mkdir(parents=True, exist_ok=True)
        (root / "split" / f"{part}.csv").write_text("\n".join(lines) + "\n")
        for index, (name, _) in enumerate(rows):
            write_image(root / "images" / name, index)
    return root


def write_cub200(root: Path) -> Path:
    listed = [line.entry.removeprefix("CUB_200_2011/images/") for line in published.load("cub200")]
    base = [f"{number:03d}.Base_bird" for number in range(1, 101)]
    classes = [*base, *dict.fromkeys(entry.split("/")[0] for entry in listed)]
    train = [f"{name}/{name}_{i}.jpg" for name in base for i in range(2)] + listed
    test = [f"{name}/test_{i}.jpg" for name in classes for i in range(2)]
    images = [(path, "1") for path in train] + [(path, "0") for path in test]
    number = {name: i for i, name in enumerate(classes, start=1)}
    tables = {
        "classes": list(classes),
        "images": [path for path, _ in images],
        "train_test_split": [part for _, part in images],
        "image_class_labels": [str(number[path.split("/")[0]]) for path, _ in images],
    }
    for index, (path, _) in enumerate(images):
        write_image(root / "images" / path, index, size=(12 + index % 3, 10))
    for name, values in tables.items():
        lines = [f"{i} {value}" for i, value in enumerate(values, start=1)]
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


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
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for file, per_class in (("train", 6), ("test", 2)):
        labels = [i % 100 for i in range(100 * per_class)]
        data = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        (folder / file).write_bytes(pickle.dumps({"data": data, "fine_labels": labels}))
    names = [f"fine {i}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    return str(tmp_path)
