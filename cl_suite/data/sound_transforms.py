"""Transforms of sounds: waveforms `(1, length)` and log-mel maps `(1, mels, frames)`, or batches.

As in `transforms`, each is a frozen dataclass whose `repr` states it exactly. Each also accepts a
batch and draws its random numbers per sample from torch's global generator.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ToWaveform:
    """Scale 16-bit samples to [-1, 1)."""

    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.float() / 32768 if x.dtype == torch.int16 else x.float()


@dataclass(frozen=True)
class Standardise:
    """Give each waveform mean 0 and variance 1, as wav2vec2 was trained; silence stays 0.

    Unlike the model's own feature extractor, this includes the silence that pads a short sound.
    """

    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-7).sqrt()


@dataclass(frozen=True)
class TimeShift:
    """Move each waveform earlier or later by a random time and fill the gap with silence.

    Args:
        max_share: largest shift, as a fraction of the length.
    """

    max_share: float = 0.1
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        sounds = x if x.dim() == 3 else x[None]  # (batch, 1, length)
        num, _, length = sounds.shape
        furthest = round(self.max_share * length)
        offset = torch.randint(0, 2 * furthest + 1, (num, 1), device=x.device)
        index = offset + torch.arange(length, device=x.device)  # (batch, length)
        padded = F.pad(sounds, (furthest, furthest))
        moved = padded.gather(-1, index[:, None].expand(-1, sounds.shape[1], -1))
        return moved if x.dim() == 3 else moved[0]


@dataclass(frozen=True)
class AddNoise:
    """Add white noise to each waveform at a random signal-to-noise ratio.

    Args:
        lowest_snr, highest_snr: range of the ratio of powers, in decibels.
    """

    lowest_snr: float = 15.0
    highest_snr: float = 40.0
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        sounds = x if x.dim() == 3 else x[None]
        draw = torch.rand(len(sounds), 1, 1, device=x.device)
        snr = self.lowest_snr + draw * (self.highest_snr - self.lowest_snr)
        power = sounds.square().mean(dim=(1, 2), keepdim=True)
        noise = torch.randn(sounds.shape, device=x.device)
        noisy = sounds + noise * (power * 10 ** (-snr / 10)).sqrt()
        return noisy if x.dim() == 3 else noisy[0]


@dataclass(frozen=True)
class LogMel:
    """Turn a waveform into its mel spectrogram in decibels, with mean 0 and variance 1.

    Short-time Fourier transform (Hann window, centred frames), power, triangular filters evenly
    spaced on the mel scale, logarithm. Values are clamped to at most `range_db` below the loudest
    point. Each map is standardised separately, which removes loudness.

    Args:
        sample_rate: sample rate of the waveform, in Hz.
        num_mels: number of filters, the map's height; they span 0 Hz to half the sample rate.
        window_seconds: length of the window and of the Fourier transform.
        hop_seconds: time between frames; `t` seconds give `1 + t / hop_seconds` frames.
        range_db: dynamic range.
    """

    sample_rate: int
    num_mels: int = 40
    window_seconds: float = 0.032
    hop_seconds: float = 0.016
    range_db: float = 60.0
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        window = round(self.window_seconds * self.sample_rate)
        spectrum = torch.stft(
            x.flatten(0, -2),
            n_fft=window,
            hop_length=round(self.hop_seconds * self.sample_rate),
            window=torch.hann_window(window, device=x.device),
            pad_mode="constant",
            return_complex=True,
        )  # (batch, frequencies, frames)
        bank = mel_filters(self.sample_rate, window // 2 + 1, self.num_mels).to(x.device)
        power = bank.T @ spectrum.abs().square()  # (batch, mels, frames)
        decibels = 10 * power.clamp(min=1e-10).log10()
        loudest = decibels.amax(dim=(1, 2), keepdim=True)
        decibels = torch.maximum(decibels, loudest - self.range_db)
        deviation, mean = torch.std_mean(decibels, dim=(1, 2), correction=0, keepdim=True)
        maps = (decibels - mean) / deviation.clamp(min=1e-3)
        return maps.reshape(*x.shape[:-1], *maps.shape[1:])


@dataclass(frozen=True)
class TimeMask:
    """Set spans of frames of each map to its mean, 0 (Park et al., "SpecAugment", 2019).

    Args:
        max_width: widest span; each width is drawn from 0 to this, then its position.
        num_masks: number of spans.
    """

    max_width: int = 12
    num_masks: int = 2
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        maps = x if x.dim() == 4 else x[None]  # (batch, 1, mels, frames)
        hidden = _spans(len(maps), maps.shape[3], self.max_width, self.num_masks, x.device)
        masked = maps.masked_fill(hidden[:, None, None, :], 0)
        return masked if x.dim() == 4 else masked[0]


@dataclass(frozen=True)
class FrequencyMask:
    """Set bands of mel filters of each map to its mean, 0 (SpecAugment).

    Args:
        max_width: widest band; each width is drawn from 0 to this, then its position.
        num_masks: number of bands.
    """

    max_width: int = 6
    num_masks: int = 2
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        maps = x if x.dim() == 4 else x[None]
        hidden = _spans(len(maps), maps.shape[2], self.max_width, self.num_masks, x.device)
        masked = maps.masked_fill(hidden[:, None, :, None], 0)
        return masked if x.dim() == 4 else masked[0]


@functools.cache
def mel_filters(sample_rate: int, num_frequencies: int, num_mels: int) -> Tensor:
    """Return triangular filters `(num_frequencies, num_mels)`, height 1, from 0 Hz to Nyquist's.

    Corners are evenly spaced on the mel scale `2595 log10(1 + f / 700)` (as in HTK).
    """
    nyquist = sample_rate / 2
    highest = 2595 * math.log10(1 + nyquist / 700)
    mels = torch.linspace(0, highest, num_mels + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    frequencies = torch.linspace(0, nyquist, num_frequencies, dtype=torch.float64)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def _spans(num: int, size: int, max_width: int, num_masks: int, device: torch.device) -> Tensor:
    """Return a mask `(num, size)` of random spans: width uniform in [0, max_width], then place."""
    width = torch.randint(0, min(max_width, size) + 1, (num, num_masks, 1), device=device)
    draw = torch.rand(num, num_masks, 1, device=device)
    start = (draw * (size - width + 1)).long()
    position = torch.arange(size, device=device)
    return ((position >= start) & (position < start + width)).any(dim=1)
