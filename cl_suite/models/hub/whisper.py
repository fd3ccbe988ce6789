"""Whisper's encoder as a backbone for raw speech, from the hub, the local cache or a folder.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023, arXiv
2212.04356, through transformers. Its name is `whisper:openai/whisper-tiny.en`, or `whisper:` and a
folder, which holds the whole model or its encoder alone. Weights are read only from safetensors,
never from a pickle.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.hub.family import Family, published

FAMILY = Family(
    "Whisper", "whisper", "config.json and model.safetensors", "whisper:openai/whisper-tiny.en"
)
RATE = 16_000  # of the waveforms, in Hz
HOP, WINDOW = 160, 400  # of the log-mel maps, in samples
IN_A_STEP = 2 * HOP  # samples that one of the encoder's time steps covers
# in a file of the whole model the encoder's tensors have such a prefix
ENCODER_KEYS = {r"^(model\.)?encoder\.": ""}


class WhisperBody(nn.Module):
    """Maps waveforms `(batch, 1, length)` at 16 kHz to features `(batch, dim)`.

    The feature is the mean of the encoder's last hidden values over the time steps of the sound.

    Differences from the published model:

    - Whisper fills every recording with silence up to 30 seconds. Here the encoder gets the
      waveform's own frames alone, and no padding to average over. One second costs a seventeenth,
      and class means on spoken digits recognise as many (96.8 % both ways: 120 recordings, ten
      draws of two unseen speakers, no tuning). At 30 seconds both are the same.
    - Silence that a scenario puts around a short recording passes the encoder, but is left out
      of the mean (see `sounding_steps`). Random noise on it counts as sound.
    - Each waveform is scaled to a peak of 1, so loudness drops out. Standardised waveforms, which
      speech scenarios give, would be louder than any that Whisper was trained with.

    Args:
        network: a `transformers` WhisperEncoder.
        filters: mel filters `(frequencies, mels)`.
    """

    network: Any
    filters: Tensor

    def __init__(self, network: nn.Module, filters: Tensor) -> None:
        super().__init__()
        self.network = network
        # computed from the configuration, so it is not saved as a weight
        self.register_buffer("filters", filters, persistent=False)

    @property
    def longest(self) -> int:
        """Length of the longest waveform it takes, in samples: 30 seconds in published models."""
        return int(self.network.config.max_source_positions) * IN_A_STEP

    def forward(self, waveforms: Tensor) -> Tensor:
        self._check(waveforms)
        sounds = waveforms[:, 0]  # (batch, length)
        hidden = self._encode(log_mel(to_peak(sounds), self.filters, self.longest))
        heard = sounding_steps(sounds).to(hidden.dtype)[:, :, None]  # (batch, steps, 1)
        return (hidden * heard).sum(dim=1) / heard.sum(dim=1)

    def _encode(self, maps: Tensor) -> Tensor:
        """Return the last hidden values `(batch, steps, dim)` of log-mel maps of any length.

        These are the steps of the library's own forward pass, which takes 30 seconds alone.
        """
        network = self.network
        hidden = F.gelu(network.conv2(F.gelu(network.conv1(maps)))).transpose(1, 2)
        hidden = hidden + network.embed_positions.weight[: hidden.shape[1]]
        hidden = F.dropout(hidden, p=network.dropout, training=self.training)
        for layer in network.layers:
            found = layer(hidden, None)
            hidden = found[0] if isinstance(found, tuple) else found  # transformers 5.0: a pair
        normed: Tensor = network.layer_norm(hidden)
        return normed

    def _check(self, waveforms: Tensor) -> None:
        if waveforms.dim() != 3 or waveforms.shape[1] != 1:
            raise UserError(
                "Whisper takes waveforms of shape (1, length), got inputs of shape "
                f"{tuple(waveforms.shape[1:])}; pass "
                f"{option('scenario.features', 'waveform')} to a speech scenario"
            )
        if (length := waveforms.shape[2]) > self.longest:
            raise UserError(
                f"Whisper takes sounds of at most {self.longest / RATE:g} s, got "
                f"{length / RATE:g} s; pass a shorter {option('scenario.seconds')}"
            )


def create_whisper_body(name: str, *, pretrained: bool, weights: str | None = None) -> WhisperBody:
    """Return a Whisper encoder for `create_backbone`.

    Args:
        name: `whisper:` and a name on the hub or a folder.
        pretrained: use the published weights; else random ones of that architecture.
        weights: folder of a model to use instead of the one in `name`.

    Raises:
        UserError: if the model could not be read or downloaded.
    """
    source = FAMILY.source_of(name, weights)
    network = load_whisper(source, pretrained=pretrained or weights is not None)
    # sinusoids, which Whisper does not train; loading forgets that
    network.embed_positions.requires_grad_(False)  # type: ignore[operator,union-attr]  # a child
    return WhisperBody(network, _mel_filters(network))


def load_whisper(name: str, *, pretrained: bool) -> nn.Module:
    """Return a `transformers` WhisperEncoder in float32.

    Args:
        name: a name on the hub, looked up in the local cache first, or a folder with config.json
            and model.safetensors.
        pretrained: load the weights; else draw random ones.

    Raises:
        UserError: if something is missing, is not Whisper's, or cannot be downloaded.
    """
    return FAMILY.load(name, lambda source, local: _read(source, pretrained, local))


def log_mel(waveforms: Tensor, filters: Tensor, longest: int) -> Tensor:
    """Return log-mel maps `(batch, mels, frames)`, with an even number of frames.

    They equal the first frames of `transformers.WhisperFeatureExtractor`'s map of the same
    waveforms filled up to 30 seconds: short-time Fourier transform (Hann window), power, mel
    filters, logarithm, clamped to 8 decades below the loudest value, `(x + 4) / 4`.

    Args:
        waveforms: `(batch, length)` at 16 kHz.
        filters: `(frequencies, mels)`.
        longest: samples of the filled waveform.
    """
    length = waveforms.shape[1]
    whole = IN_A_STEP * -(-length // IN_A_STEP)
    # as much silence as the windows of the last frames see
    filled = F.pad(waveforms.float(), (0, min(whole + WINDOW, longest) - length))
    window = torch.hann_window(WINDOW, device=waveforms.device)
    # half precision is too coarse for eight decades
    with torch.autocast(waveforms.device.type, enabled=False):
        spectrum = torch.stft(filled, WINDOW, HOP, window=window, return_complex=True)[..., :-1]
        power = filters.float().T @ spectrum.abs().square()  # (batch, mels, frames)
        logs = power.clamp(min=1e-10).log10()
    logs = torch.maximum(logs, logs.amax(dim=(1, 2), keepdim=True) - 8)
    return ((logs + 4) / 4)[..., : whole // HOP]


def to_peak(waveforms: Tensor) -> Tensor:
    """Return waveforms `(batch, length)` scaled to a largest absolute value of 1; silence stays."""
    return waveforms / waveforms.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)


def sounding_steps(waveforms: Tensor) -> Tensor:
    """Return which time steps `(batch, steps)` of waveforms `(batch, length)` hold sound.

    The silence around a short recording is a run of equal values at the start and at the end. A
    step holds sound if it overlaps with what is between. In a waveform that is silent throughout,
    every step counts.

    Example:
        >>> sounding_steps(torch.tensor([[0.0] * 640 + [0.5, -0.5] + [0.0] * 638])).tolist()
        [[False, False, True, False]]
    """
    length = waveforms.shape[1]
    begun = waveforms != waveforms[:, :1]
    unfinished = (waveforms != waveforms[:, -1:]).flip(1)
    first = begun.int().argmax(dim=1, keepdim=True)
    last = length - 1 - unfinished.int().argmax(dim=1, keepdim=True)
    last = torch.maximum(first, last)  # a single jump lies between two runs
    start = torch.arange(0, length, IN_A_STEP, device=waveforms.device)
    holds = (start + IN_A_STEP > first) & (start <= last)
    return holds | ~begun.any(dim=1, keepdim=True)


def _mel_filters(network: nn.Module) -> Tensor:
    from transformers import WhisperFeatureExtractor

    config: Any = network.config
    extractor: Any = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    return torch.from_numpy(extractor.mel_filters).float()


def _read(source: str, pretrained: bool, local: bool) -> nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = FAMILY.config(WhisperConfig, source, local)
    if pretrained:
        return published(WhisperEncoder, source, config, local, key_mapping=ENCODER_KEYS)
    model: nn.Module = WhisperEncoder(config)
    return model
