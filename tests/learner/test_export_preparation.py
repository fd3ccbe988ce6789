"""Preparation of pictures as ONNX nodes gives what the suite's transforms give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cl_suite.data.transforms import (
    AutoAugment,
    Channels,
    Compose,
    Flip,
    Grey,
    Identity,
    InkDrawing,
    Resize,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)

pytest.importorskip("onnx", reason="needs cl-suite[export]")
pytest.importorskip("onnxruntime", reason="needs cl-suite[export]")

from cl_suite.learner.export.check import session
from cl_suite.learner.export.graph import OPSET, Graph
from cl_suite.learner.export.preparation import Inexpressible, Pixels, add_preparation

SIZES = [(16, 16), (7, 9), (33, 20), (20, 33), (211, 100), (1, 5), (64, 65)]
STATISTICS = ToFloat((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def model_of(transform: Transform) -> tuple[bytes, Pixels]:
    from onnx import TensorProto, helper

    graph = Graph("test")
    pixels = add_preparation(graph, transform, "image")
    graph.op("Identity", pixels.name, to="prepared")
    code = TensorProto.UINT8 if pixels.is_whole else TensorProto.FLOAT
    value = helper.make_tensor_value_info
    inputs = [value("image", TensorProto.UINT8, ["batch", 3, "height", "width"])]
    made = helper.make_graph(
        graph.nodes, "g", inputs, [value("prepared", code, None)], graph.initializers
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return model.SerializeToString(), pixels


def pictures(height: int, width: int, number: int = 3) -> torch.Tensor:
    """Smooth shapes with noise: whole ranges of levels, and edges."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    coarse = torch.rand(number, 3, 3, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noise = torch.rand(number, 3, height, width, generator=generator) - 0.5
    return ((smooth + 0.2 * noise).clamp(0, 1) * 255).byte()


def both(transform: Transform, height: int, width: int) -> tuple[Any, Any]:
    """Return ONNX Runtime's and PyTorch's result for a batch."""
    content, _ = model_of(transform)
    batch = pictures(height, width)
    (found,) = session(content).run(None, {"image": batch.numpy()})
    return found, torch.stack([transform(one) for one in batch]).numpy()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    "transform",
    [Identity(), Flip(), Compose((Grey(), Channels(3))), Compose((STATISTICS, Flip()))],
    ids=repr,
)
def test_steps_without_resizing_agree(transform: Transform, height: int, width: int) -> None:
    found, expected = both(transform, height, width)
    assert found.dtype == expected.dtype
    differences = abs(found.astype(float) - expected.astype(float))
    if found.dtype == np.uint8:
        # brightness is cut off, and the last digit of its sum depends on the processor
        assert (differences > 0).mean() < 1e-3
        differences -= differences > 0
    assert differences.max() <= 2e-6


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [5, 28, 105])
def test_ink_drawings_are_exact(size: int, height: int, width: int) -> None:
    found, expected = both(InkDrawing(size), height, width)
    assert 0 < expected.mean() < 255 or (height, width) == (1, 5)
    np.testing.assert_array_equal(found, expected)


def test_a_large_ink_drawing_is_exact() -> None:
    # areas of more than 2^24 units, which float32 cannot count
    found, expected = both(InkDrawing(9), 4201, 50)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    "transform",
    [
        Resize(24),
        ResizeCenterCrop(16, 16),
        ResizeCenterCrop(37, 32, "bicubic"),
        ResizeCenterCrop(65, 32, "bilinear"),
        Compose((Grey(), ResizeCenterCrop(21, 20, "bicubic"))),
    ],
    ids=repr,
)
def test_resizing_differs_by_two_levels_in_few_places(
    transform: Transform, height: int, width: int
) -> None:
    found, expected = both(transform, height, width)
    assert found.shape == expected.shape
    differences = abs(found.astype(int) - expected.astype(int))
    # whole levels after each direction; the cubic kernel has weights of both signs
    assert differences.max() <= 2
    assert (differences > 0).mean() < 0.1


def test_floats_are_resized_too() -> None:
    found, expected = both(Compose((STATISTICS, ResizeCenterCrop(20, 16))), 33, 50)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_words_name_each_step() -> None:
    _, pixels = model_of(Compose((ResizeCenterCrop(256, 224, "bicubic"), STATISTICS)))
    assert pixels.words == (
        "shorter side to 256 (bicubic, antialiased)",
        "centre 224 x 224",
        "scaled to [0, 1], minus (0.5, 0.4, 0.3), over (0.2, 0.3, 0.4)",
    )


@pytest.mark.parametrize(
    "transform",
    [ResizeCenterCrop(16, 16, "lanczos"), ResizeCenterCrop(16, 20), AutoAugment("cifar10")],
    ids=repr,
)
def test_what_has_no_nodes_is_named(transform: Transform) -> None:
    with pytest.raises(Inexpressible, match=r"lanczos|larger|AutoAugment"):
        model_of(Compose((transform, ToFloat())))
