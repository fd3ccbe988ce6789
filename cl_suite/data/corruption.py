"""Corrupted training samples: noisy, blurred, pale or inverted images, and noisy sounds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.shifts import shifted
from cl_suite.errors import UserError

Corruption = Literal["none", "noise", "blur", "low_contrast", "invert"]
SNR = 10.0  # of a noisy sound, in decibels


def corrupted(samples: Samples, kind: Corruption, seed: Sequence[int]) -> Samples:
    """Return corrupted copies of samples, with their labels.

    Images change as in `shifts`. A sound gets white noise, 10 decibels below its own power. Noise
    is drawn once for each sample, so it is the same in every epoch.

    Args:
        samples: images in 8 bits, in memory or files, or 16-bit sounds.
        seed: seed of the noise.

    Raises:
        UserError: for samples of another form, and for sounds that should be blurred and so on.
    """
    sample = samples[0][0]
    if sample.dtype == torch.uint8 and sample.dim() == 3:
        if isinstance(samples, TensorSamples):
            return TensorSamples(shifted(samples.inputs, kind, seed), samples.targets)
        return CorruptedFiles(samples, kind, seed)
    if sample.dtype == torch.int16 and isinstance(samples, TensorSamples):
        if kind != "noise":
            raise UserError(f"corruption of sounds must be noise or none, got '{kind}'")
        return TensorSamples(_noisy(samples.inputs, seed), samples.targets)
    raise UserError(
        "corruption needs images in 8 bits or sounds in 16 bits, got samples of type "
        f"{sample.dtype}; pass none"
    )


class CorruptedFiles:
    """Image files that are corrupted whenever they are decoded, each always alike.

    Args:
        samples: the files.
        kind: see `corrupted`.
        seed: seed of the noise; a file's own noise also depends on its first position.
    """

    def __init__(self, samples: Samples, kind: Corruption, seed: Sequence[int]) -> None:
        self.samples, self.kind, self.seed = samples, kind, tuple(seed)
        self.targets = list(samples.targets)
        self.places = list(range(len(samples)))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, _ = self.samples[index]
        seed = (*self.seed, self.places[index])
        return shifted(image[None], self.kind, seed)[0], self.targets[index]

    def select(self, indices: Sequence[int]) -> CorruptedFiles:
        rows = list(indices)
        chosen = copy.copy(self)
        chosen.samples = self.samples.select(rows)
        chosen.targets = [self.targets[row] for row in rows]
        chosen.places = [self.places[row] for row in rows]
        return chosen

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        return self.samples.num_bytes(indices)

    def digest(self, index: int) -> bytes:
        how = f"\0{self.kind}\0{(*self.seed, self.places[index])}\0{self.targets[index]}"
        return self.samples.digest(index) + how.encode()


def _noisy(sounds: Tensor, seed: Sequence[int]) -> Tensor:
    """Return 16-bit sounds `(num, 1, length)` with white noise."""
    values = sounds.float()
    power = values.square().mean(dim=(1, 2), keepdim=True)
    noise = np.random.default_rng(seed).standard_normal(tuple(sounds.shape), dtype=np.float32)
    noisy = values + torch.from_numpy(noise) * (power * 10 ** (-SNR / 10)).sqrt()
    return noisy.round().clamp(-32768, 32767).to(torch.int16)
