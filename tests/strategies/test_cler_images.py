"""CLER: which images the pretext task sees around each kind of host."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_cler import engine_with, train
from helpers.tiny_streams import make_stream
from torch import Tensor
from torchvision.io import write_png

from cl_suite.data.samples import FileSamples
from cl_suite.data.stream import Stream
from cl_suite.strategies.cler import CLERPlugin


class Looking(CLERPlugin):
    """Notes the images that the pretext loss is made of, by session."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.images: list[list[Tensor]] = []

    def before_training_exp(self, template: Any, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.images.append([])

    def pretext_loss(self, model: Any, images: Tensor, precision: Any = None) -> Tensor:
        self.images[-1].append(images.clone())
        return super().pretext_loss(model, images, precision)


def plain_images(stream: Stream, sessions: Sequence[int]) -> set[bytes]:
    parts = [stream.info.eval_transform(stream.train[s].inputs) for s in sessions]  # type: ignore[attr-defined]
    return {image.numpy().tobytes() for part in parts for image in part}


def looked_at(batches: list[Tensor]) -> set[bytes]:
    return {image.numpy().tobytes() for batch in batches for image in batch}


def test_the_pretext_task_sees_the_streams_images_without_augmentation() -> None:
    plugin = Looking(host="finetune")
    engine = train(engine_with(plugin))
    for session in range(3):
        assert looked_at(plugin.images[session]) == plain_images(engine.stream, [session])


def test_samples_that_a_host_puts_into_the_batch_are_among_them() -> None:
    plugin = Looking(host="joint")
    engine = train(engine_with(plugin))
    for session in range(3):
        seen = looked_at(plugin.images[session])
        assert seen == plain_images(engine.stream, range(session + 1))


def test_images_in_files_are_seen_without_augmentation_too(tmp_path: Path) -> None:
    def files(samples: Any, name: str) -> FileSamples:
        paths = [tmp_path / f"{name}{row}.png" for row in range(len(samples))]
        for path, image in zip(paths, samples.inputs, strict=True):
            write_png(image.expand(3, -1, -1).contiguous(), str(path))
        return FileSamples(paths, samples.targets, tmp_path)

    tensors = make_stream()
    sets = [
        [files(samples, f"{part}{i}-") for i, samples in enumerate(each)]
        for part, each in (("train", tensors.train), ("test", tensors.test))
    ]
    info = dataclasses.replace(tensors.info, input_shape=(3, 16, 16))
    plugin = Looking(host="er_ace", host_params={"buffer": 40, "replay_batch": 5})
    engine = train(engine_with(plugin, Stream(info, tuple(sets[0]), tuple(sets[1]))))
    transform = info.eval_transform
    for session in range(3):
        stream = {transform(image).numpy().tobytes() for image, _ in engine.stream.train[session]}  # type: ignore[attr-defined]
        batch = min(len(engine.stream.train[session]), 16)
        assert looked_at([images[:batch] for images in plugin.images[session]]) == stream


@pytest.mark.parametrize(("host", "draws"), [("er_ace", 1), ("der", 2)])
def test_samples_that_a_host_draws_by_itself_are_among_them(host: str, draws: int) -> None:
    plugin = Looking(host=host, host_params={"buffer": 40, "replay_batch": 5})
    engine = train(engine_with(plugin))
    [first, second] = plugin.images[1]  # two epochs of six samples
    assert len(first) == len(second) == 6 + 5 * draws
    assert looked_at([first[:6]]) == plain_images(engine.stream, [1])
    assert looked_at([first[6:]]) <= plain_images(engine.stream, [0, 1])
    assert looked_at([first[6:]]) & plain_images(engine.stream, [0])


def test_of_a_loader_of_the_hosts_own_making_it_sees_the_augmented_images() -> None:
    plugin = Looking(host="replay", host_params={"mem_size": 12})
    engine = train(engine_with(plugin))
    assert looked_at(plugin.images[0]) == plain_images(engine.stream, [0])
    assert not looked_at(plugin.images[1]) & plain_images(engine.stream, [0, 1])
    assert len(plugin.images[1][0]) == 6 + 12  # the session and what is replayed
