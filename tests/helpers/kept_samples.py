"""Data sets for the buffers, and what a buffer holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cl_suite.avalanche import api
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Identity
from cl_suite.methods.replay.buffer import QuotaBuffer, ReservoirBuffer
from cl_suite.storage import checkpoint


def data_of(labels: list[int], start: float = 0.0) -> Any:
    """Samples `start, start + 1, ...`, 4 bytes each."""
    values = torch.arange(len(labels), dtype=torch.float32)[:, None] + start
    samples = TensorSamples(values, labels)
    return api.dataset(samples, Identity(), Identity(), range(len(labels)))


def values(buffer: QuotaBuffer | ReservoirBuffer) -> list[float]:
    inputs: list[float] = buffer.exemplars.batch(range(buffer.num_samples))[0][:, 0].tolist()
    return inputs


def saved_and_loaded(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    checkpoint.save(folder / "state", state)
    return checkpoint.load(folder / "state")
