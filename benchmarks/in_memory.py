"""Samples of a benchmark's stream as one tensor."""

from __future__ import annotations

from torch import Tensor

from cl_suite.data.samples import Samples, TensorSamples


def inputs_of(samples: Samples) -> Tensor:
    """Return the inputs `(num_samples, ...)` of samples that are in memory."""
    assert isinstance(samples, TensorSamples), "this benchmark reads no files while it measures"
    return samples.inputs
