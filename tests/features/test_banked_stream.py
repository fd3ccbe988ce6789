"""The stream of features from the bank: its record, its views, and figures that stay the same."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.banks import DIM, Counting, sets, with_transform
from helpers.tiny_streams import make_stream
from PIL import Image
from torch import Tensor, nn

from cl_suite.avalanche import benchmark
from cl_suite.avalanche.loader import batches
from cl_suite.data.samples import FileSamples, Samples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, RandomCropFlip, ResizeCenterCrop, ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.features import bank_store
from cl_suite.features.bank import DrawnView, FirstView, banked_stream, weights_digest
from cl_suite.features.bank_store import FEATURES, entries
from cl_suite.models.backbones import Backbone, create_backbone
from cl_suite.models.classifier import Classifier
from cl_suite.models.folded import folded
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.strategies.prototype import PrototypePlugin
from cl_suite.strategies.teen import TEENPlugin


@pytest.fixture
def stream() -> Stream:
    return make_stream()


def files_stream(folder: Path) -> Stream:
    """A stream of image files of differing sizes, one of them a copy of another."""
    draw = np.random.default_rng(0)

    def samples(classes: list[int], kind: str) -> Samples:
        paths, targets = [], []
        for class_id in classes:
            for number in range(3):
                size = draw.integers(20, 60, 2)
                pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
                paths.append(folder / f"{kind}-{class_id}-{number}.png")
                targets.append(class_id)
                Image.fromarray(pixels).save(paths[-1])
        return FileSamples(paths, targets, folder)

    train, test = (
        [samples([0, 1], "a"), samples([2], "a")],
        [samples([0, 1], "b"), samples([2], "b")],
    )
    (folder / "b-2-0.png").write_bytes((folder / "a-0-0.png").read_bytes())
    return build_stream(
        name="files",
        class_names=["a", "b", "c"],
        session_classes=[[0, 1], [2]],
        train=train,
        test=test,
        train_transform=(evaluation := Compose((ResizeCenterCrop(18, 16), ToFloat()))),
        eval_transform=evaluation,
    )


# --- one view ---


def test_features_equal_the_models_bit_for_bit_at_the_same_batch_size(tmp_path: Path) -> None:
    stream = make_stream(base_shots=16)
    backbone = create_backbone("conv4", stream.info.input_shape, frozen=True)
    banked = banked_stream(stream, backbone, folder=tmp_path, batch_size=8)
    images = stream.info.eval_transform(stream.train[0].inputs)  # type: ignore[attr-defined]
    channels_last = [x.contiguous(memory_format=torch.channels_last) for x in images.split(8)]
    network = folded(backbone, channels_last[0][:2])
    with torch.no_grad():
        expected = torch.cat([network(x) for x in channels_last])
        plain = torch.cat([backbone(x) for x in channels_last])
    assert banked.train[0].inputs.equal(expected)  # type: ignore[attr-defined]
    # BatchNorm folded into convolutions rounds differently
    torch.testing.assert_close(expected, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_takes_half_the_bytes_and_stays_near(
    stream: Stream, tmp_path: Path, dtype: Any, rounding: float
) -> None:
    exact = banked_stream(stream, Counting(), folder=tmp_path / "exact")
    half = banked_stream(stream, Counting(), folder=tmp_path / "half", dtype=dtype)
    for a, b in zip(sets(exact), sets(half), strict=True):
        assert b.inputs.dtype == torch.float32
        # in bfloat16 it is computed too, so errors are relative to the largest feature
        slack = 1e-6 if dtype == "float16" else 4 * rounding * float(a.inputs.abs().max())
        torch.testing.assert_close(b.inputs, a.inputs, rtol=rounding, atol=slack)
    sizes = [
        (next(tmp_path.glob(f"{name}/*/{FEATURES}"))).stat().st_size for name in ("exact", "half")
    ]
    assert sizes[0] == 2 * sizes[1]


def test_the_record_stays_but_for_what_the_model_sees(stream: Stream, tmp_path: Path) -> None:
    banked = banked_stream(stream, Counting(), folder=tmp_path)
    for name in ("name", "class_names", "session_classes", "way", "shots", "modality"):
        assert getattr(banked.info, name) == getattr(stream.info, name)
    assert banked.info.input_shape == (DIM,)
    assert stream.info.preprocessing in banked.info.preprocessing
    assert weights_digest(Counting()) in banked.info.preprocessing
    assert banked.info.notes == (
        "features are computed once, so the training images' random augmentation is left out",
    )
    assert [s.targets for s in sets(banked)] == [s.targets for s in sets(stream)]
    experience = benchmark(banked).train_stream[1]
    assert experience.dataset[0][0].equal(banked.train[1][0][0])


def test_the_fingerprint_tells_data_of_equal_features_apart(tmp_path: Path) -> None:
    class Blind(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), DIM)

    streams = [make_stream(), make_stream([[7, 2, 5, 0], [3, 4], [6, 1]])]
    prints = [banked_stream(s, Blind(), folder=tmp_path).info.fingerprint for s in streams]
    assert prints[0] != prints[1]


def test_sessions_own_their_features(stream: Stream, tmp_path: Path) -> None:
    banked = sets(banked_stream(stream, Counting(), folder=tmp_path))
    for samples in banked:
        assert samples.inputs.untyped_storage().nbytes() == len(samples) * DIM * 4
    assert len({samples.inputs.untyped_storage().data_ptr() for samples in banked}) == len(banked)


def test_no_random_number_is_drawn_and_modes_are_left_alone(stream: Stream, tmp_path: Path) -> None:
    backbone = Counting().train()
    backbone.linear.eval()
    before = torch.get_rng_state()
    banked_stream(stream, backbone, folder=tmp_path)
    assert torch.get_rng_state().equal(before)
    assert (backbone.training, backbone.linear.training) == (True, False)


def test_modes_are_restored_when_writing_fails(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bank_store, "_as_stored", full)
    backbone = Counting().train()
    with pytest.raises(UserError, match="the disk is full") as caught:
        banked_stream(stream, backbone, folder=tmp_path)
    assert caught.tb is not None  # the frames are still alive
    assert backbone.training


def test_features_may_enter_a_loss(stream: Stream, tmp_path: Path) -> None:
    banked = sets(banked_stream(stream, Counting(), folder=tmp_path))
    layer = nn.Linear(DIM, 2)
    layer(banked[0].inputs).sum().backward()
    assert layer.weight.grad is not None


def test_batches_are_sliced_whole(stream: Stream, tmp_path: Path) -> None:
    banked = banked_stream(stream, Counting(), folder=tmp_path)
    loader = batches(benchmark(banked).train_stream[0].dataset, 10)
    assert type(loader).__name__ == "TensorLoader"
    assert torch.cat([x for x, _ in loader]).equal(banked.train[0].inputs)  # type: ignore[attr-defined]


def test_image_files_of_differing_sizes_are_read(tmp_path: Path) -> None:
    stream, backbone = files_stream(tmp_path), Counting(num_pixels=3 * 256)
    folder = tmp_path / "bank"
    banked = banked_stream(stream, backbone, folder=folder, batch_size=1)
    assert backbone.num_runs == 17  # one of the 18 files is a copy
    view, samples = stream.info.eval_transform, stream.test[1]
    with torch.no_grad():
        expected = torch.cat([backbone.eval()(view(samples[i][0])[None]) for i in range(3)])
    assert banked.test[1].inputs.equal(expected)  # type: ignore[attr-defined]
    assert banked.test[1].inputs[0].equal(banked.train[0].inputs[0])  # type: ignore[attr-defined]


def test_an_image_file_that_is_gone_is_named(tmp_path: Path) -> None:
    stream = files_stream(tmp_path)
    (tmp_path / "b-0-1.png").unlink()
    with pytest.raises(UserError, match=r"b-0-1.png' cannot be read"):
        banked_stream(stream, Counting(num_pixels=768), folder=tmp_path / "bank")


# --- several views ---


def test_training_samples_are_drawn_from_their_views(stream: Stream, tmp_path: Path) -> None:
    views = [ToFloat((0.5,), (1.0,)), ToFloat((0.0,), (0.5,))]
    banked = banked_stream(stream, Counting(), folder=tmp_path, views=views)
    assert len(entries(tmp_path)) == 3
    inputs = sets(banked)[0].inputs
    assert inputs.shape == (len(stream.train[0]), 3, DIM)
    assert isinstance(banked.info.train_transform, DrawnView)
    torch.manual_seed(0)
    drawn = banked.info.train_transform(inputs)
    which = (inputs == drawn[:, None]).all(2).int().argmax(1)
    assert inputs[torch.arange(len(inputs)), which].equal(drawn)
    assert set(which.tolist()) == {0, 1, 2}


def test_evaluation_takes_the_first_view(stream: Stream, tmp_path: Path) -> None:
    plain = banked_stream(stream, Counting(), folder=tmp_path)
    banked = banked_stream(stream, Counting(), folder=tmp_path, views=[ToFloat((0.5,))])
    view = banked.info.eval_transform
    assert isinstance(view, FirstView)
    assert banked.info.input_shape == (DIM,)
    for a, b in zip(sets(plain), sets(banked), strict=True):
        assert view(b.inputs).equal(a.inputs)
        assert view(b.inputs[0]).equal(a.inputs[0])


def test_test_images_have_no_further_views(stream: Stream, tmp_path: Path) -> None:
    backbone = Counting()
    banked_stream(stream, backbone, folder=tmp_path, views=[ToFloat((0.5,))], batch_size=1)
    num_train, num_test = (sum(len(s) for s in part) for part in (stream.train, stream.test))
    assert backbone.num_runs == 2 * num_train + num_test


def test_a_random_view_is_refused(stream: Stream, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot keep random views of an image, got RandomCropFlip"):
        banked_stream(stream, Counting(), folder=tmp_path, views=[RandomCropFlip()])
    assert entries(tmp_path) == []


# --- plugins run unchanged ---


@pytest.mark.parametrize("plugin", [PrototypePlugin, TEENPlugin])
def test_strategies_reach_the_same_figures_as_without_the_bank(
    tmp_path: Path, plugin: Callable[[], Any]
) -> None:
    stream = with_transform(make_stream(), ToFloat())
    torch.manual_seed(0)
    backbone = create_backbone("conv4", stream.info.input_shape, frozen=True)
    banked = banked_stream(stream, backbone, folder=tmp_path)
    identity = create_backbone("identity", banked.info.input_shape, frozen=True)
    plain = figures(stream, backbone, plugin())
    fast = figures(banked, identity, plugin())
    assert all(a.equal(b) for a, b in zip(plain, fast, strict=True))
    assert plain[-1].diagonal().sum() > 0


def figures(stream: Stream, backbone: Backbone, plugin: Any) -> list[Tensor]:
    """Return the confusion matrix after each session."""
    torch.manual_seed(1)
    model = Classifier(backbone, CosineHead(backbone.dim, stream.info.num_classes))
    recipe = TrainingConfig(base_epochs=2, incremental_epochs=0, batch_size=16)
    engine = Engine(stream, model, plugin, recipe)
    confusions = []
    for session in range(stream.info.num_sessions):
        engine.train_session(session)
        confusions.append(engine.evaluate(session))
    return confusions
