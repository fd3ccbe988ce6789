"""A network that counts its images, and streams, for tests of the feature bank."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream

DIM = 5


class Counting(nn.Module):
    """A linear map of the pixels that remembers the images it was given."""

    def __init__(self, seed: int = 0, num_pixels: int = 256) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(num_pixels, DIM)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.seen += list(x.flatten(1).clone())
        return self.linear(x.flatten(1))

    @property
    def num_runs(self) -> int:
        return len(self.seen)


def sets(stream: Stream) -> list[TensorSamples]:
    return [s for s in (*stream.train, *stream.test) if isinstance(s, TensorSamples)]


def with_transform(stream: Stream, transform: Any) -> Stream:
    return build_stream(
        name=stream.info.name,
        class_names=stream.info.class_names,
        session_classes=stream.info.session_classes,
        train=stream.train,
        test=stream.test,
        train_transform=transform,
        eval_transform=transform,
    )
