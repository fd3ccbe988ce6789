"""Identity of images and networks, and the computation of features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_streams import make_samples
from PIL import Image
from torch import Tensor, nn

from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.transforms import ToFloat
from cl_suite.features.compute import Recipe, content_digests, default_batch_size
from cl_suite.models.backbones import create_backbone
from cl_suite.models.digest import tensor_digest, weights_digest


def test_content_does_not_depend_on_labels_and_names(tmp_path: Path) -> None:
    images = make_samples([0, 1], 2, seed=0)
    other = TensorSamples(images.inputs, [5] * 4)
    assert content_digests(images) == content_digests(other)
    assert len(set(content_digests(images))) == 4
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        Image.new("RGB", (3, 2)).save(path)
    first, second = content_digests(FileSamples(paths, [0, 1], tmp_path))
    assert first == second


def test_bytes_of_another_shape_or_type_are_other_content() -> None:
    zeros = [torch.zeros(1, 4), torch.zeros(1, 2, 2), torch.zeros(1, 4, dtype=torch.int32)]
    assert len({content_digests(TensorSamples(x, [0]))[0] for x in zeros}) == 3


@pytest.mark.parametrize(
    ("tensor", "stored"),
    [
        (torch.arange(6).reshape(2, 3), "80b338c7e28ddaea42466c2fce15947c"),
        (torch.tensor(1.5), "48940098a5aaa77844b2116c92588048"),
        (torch.zeros(0, 3), "c355fa3e88f54bb6f795a6b85b1e2e0c"),
        (torch.tensor([True, False]), "bf946513e2f29bc58958ebaa7b44dadf"),
        (torch.tensor([1.5, -2.0]).bfloat16(), "e1353dd24c5da610d9d5cb3c21ed3b47"),
        (torch.arange(6.0).reshape(2, 3).t(), "393ce66f88633acad0d799e26cceb0f3"),
    ],
)
def test_a_tensors_digest_is_that_of_earlier_versions(tensor: Tensor, stored: str) -> None:
    assert tensor_digest(tensor).hex() == stored


def test_the_weights_digest_notices_one_number_and_no_memory_order() -> None:
    backbone = create_backbone("conv4", (1, 16, 16))
    before = weights_digest(backbone)
    assert weights_digest(backbone.to(memory_format=torch.channels_last)) == before
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.num_batches_tracked.add_(1)  # type: ignore[operator]
    assert weights_digest(backbone) == before
    with torch.no_grad():
        next(backbone.parameters()).view(-1)[0] += 1e-6
    assert weights_digest(backbone) != before


def test_the_weights_digest_notices_another_structure() -> None:
    assert weights_digest(nn.AvgPool2d(2)) != weights_digest(nn.MaxPool2d(2))


def test_the_batch_size_shrinks_with_the_images_area() -> None:
    cpu = torch.device("cpu")
    sizes = [default_batch_size(cpu, (3, side, side)) for side in (28, 84, 224, 512)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= 1


def test_waveforms_come_in_small_batches_on_any_device() -> None:
    devices = (torch.device("cpu"), torch.device("cuda"))
    assert [default_batch_size(device, (1, 16_000)) for device in devices] == [16, 16]


def test_files_are_prepared_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(50)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    samples = FileSamples(paths, [0] * 50, tmp_path)
    recipe = Recipe(nn.Flatten(), "none", "float32", torch.device("cpu"), 8)
    done = []
    parts = recipe.features(
        ToFloat(), [(samples, row) for row in range(50)], lambda *counts: done.append(counts)
    )
    red = torch.cat(list(parts))[:, 0]
    assert (red * 255).round().tolist() == list(range(50))
    assert done[0] == (8, 50)
    assert done[-1] == (50, 50)


def test_the_last_batch_is_as_large_as_the_others() -> None:
    class Sizes(nn.Flatten):
        sizes: tuple[int, ...] = ()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.sizes = (*self.sizes, len(x))
            return super().forward(x)

    samples, backbone = make_samples([0], 5, seed=0), Sizes()
    recipe = Recipe(backbone, "none", "float32", torch.device("cpu"), 4)
    features = torch.cat(list(recipe.features(ToFloat(), [(samples, i) for i in range(5)])))
    assert backbone.sizes == (4, 4)
    assert features.equal((samples.inputs.float() / 255).flatten(1))
