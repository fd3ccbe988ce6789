"""CIFAR-10 in its three layouts: the same images, and nothing that is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from helpers.tiny_cifar import NUM_IMAGES, batches, write_binary, write_folders, write_python
from helpers.tiny_layouts import write_image

from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar10
from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.errors import UserError


def contents(pool: Pool, samples: Samples) -> list[tuple[bytes, int]]:
    """Return each image and its class, in an order of their own."""
    found = pool.load(samples)
    assert isinstance(found, TensorSamples)
    return sorted((found[row][0].numpy().tobytes(), found[row][1]) for row in range(len(found)))


@pytest.mark.parametrize("write", [write_binary, write_python, write_folders])
def test_every_layout_gives_the_images_and_labels_of_both_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    pool = cifar10.read(str(write(tmp_path)))
    *train, test = batches()
    for samples, parts in ((pool.train, train), (pool.test, [test])):
        expected = sorted(
            (image.tobytes(), label) for part in parts for image, label in zip(*part, strict=True)
        )
        assert contents(pool, samples) == expected
    assert pool.class_names == cifar10.CLASSES


def test_records_keep_their_order_and_their_colours(tmp_path: Path) -> None:
    pool = cifar10.read(str(write_binary(tmp_path)))
    assert isinstance(pool.train, TensorSamples)
    images, labels = batches()[1]
    second = pool.train.select(range(NUM_IMAGES, 2 * NUM_IMAGES))
    assert second.targets == labels
    assert torch.equal(second.inputs, torch.from_numpy(images).view(-1, 3, 32, 32))


def test_another_input_size_leaves_the_samples_at_their_own(tmp_path: Path) -> None:
    pool = cifar10.read(str(write_binary(tmp_path)), image_size=48)
    assert pool.eval_transform(pool.train[0][0]).shape == (3, 48, 48)
    assert pool.train_transform(pool.train[0][0]).shape == (3, 48, 48)
    assert pool.train[0][0].shape == (3, 32, 32)


def test_a_part_of_the_data_set_is_said(tmp_path: Path) -> None:
    (note,) = cifar10.read(str(write_binary(tmp_path))).notes
    assert "has 100 instead of 50000 training images, and 20 instead of 10000 test images" in note


def test_a_pickle_that_is_not_the_original_is_not_opened(tmp_path: Path) -> None:
    write_python(tmp_path)
    with pytest.raises(UserError, match=r"CIFAR-10: a file in '.*cifar-10-batches-py' is damaged"):
        cifar10.read(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (bytes(3072), "is damaged or not the original one .3072 bytes, no multiple of 3073"),
        (b"", "0 bytes, no multiple of 3073"),
        (bytes([10]) + bytes(3072), "class number 10"),
    ],
)
def test_a_damaged_binary_file_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    write_binary(tmp_path)
    (tmp_path / cifar10.BINARY / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(UserError, match=f"data_batch_3.bin' .*{sentence}"):
        cifar10.read(str(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_binary(tmp_path)
    (tmp_path / cifar10.BINARY / "test_batch.bin").unlink()
    with pytest.raises(UserError, match=r"'cifar-10-batches-bin/test_batch.bin' is missing"):
        cifar10.read(str(tmp_path))


@pytest.mark.parametrize(("kept", "lost"), [("train", "test"), ("test", "training")])
def test_a_class_without_images_of_one_part_is_named(tmp_path: Path, kept: str, lost: str) -> None:
    write_folders(tmp_path, cifar10.CLASSES[:3])
    for path in (tmp_path / "bird").iterdir():
        if not path.name.startswith(kept):
            path.unlink()
    with pytest.raises(UserError, match=f"class 'bird' has no {lost} image; names of test images"):
        cifar10.read(str(tmp_path))


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    for name in ("train_0", "test_0"):
        write_image(tmp_path / "cat" / f"{name}.png", size=(64, 64))
    pool = cifar10.read(str(tmp_path))
    with pytest.raises(UserError, match="images of 32 x 32 pixels, but these are 64 x 64; use"):
        pool.load(pool.train)


def test_a_root_in_no_layout_is_refused_with_all_three(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"must hold cifar-10-batches-py/ or .*, or one folder"):
            cifar10.read(str(root))
