"""The stream of features with further views of each sample, as a feature bank keeps them."""

from __future__ import annotations

import dataclasses

import torch

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.features.bank import DrawnView, FirstView
from helpers.feature_streams import make_feature_stream


def stream_of_views() -> Stream:
    """Return the stream with two further views of each training sample, as a bank keeps them."""
    stream = make_feature_stream()
    parts = [
        TensorSamples(torch.stack([x, x + 0.1, x - 0.1], dim=1), targets)
        for x, targets in map(_values, stream.train)
    ]
    tests = [TensorSamples(x[:, None], targets) for x, targets in map(_values, stream.test)]
    info = dataclasses.replace(
        stream.info,
        train_transform=DrawnView(("a", "b", "c"), ""),
        eval_transform=FirstView("a", ""),
    )
    return Stream(info, tuple(parts), tuple(tests))


def _values(samples: Samples) -> tuple[torch.Tensor, list[int]]:
    assert isinstance(samples, TensorSamples)
    return samples.inputs, list(samples.targets)
