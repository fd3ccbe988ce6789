"""wav2vec2 as a backbone for raw speech, from the hub, the local cache or a folder.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
NeurIPS 2020, arXiv 2006.11477, through transformers. Its name is
`wav2vec2:facebook/wav2vec2-base-960h`, or `wav2vec2:` and a folder. Weights are read only from
safetensors, never from a pickle.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.hub.family import Family, published

FAMILY = Family(
    "wav2vec2",
    "wav2vec2",
    "config.json and model.safetensors",
    "wav2vec2:facebook/wav2vec2-base-960h",
)


class Wav2Vec2Body(nn.Module):
    """Maps standardised waveforms `(batch, 1, length)` at 16 kHz to features `(batch, dim)`.

    The feature is the mean of the last layer's hidden values over time. All sounds have the same
    length, so no attention mask is needed.

    Args:
        network: a `transformers.Wav2Vec2Model`.
    """

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveforms: Tensor) -> Tensor:
        if waveforms.dim() != 3 or waveforms.shape[1] != 1:
            raise UserError(
                "wav2vec2 takes waveforms of shape (1, length), got inputs of shape "
                f"{tuple(waveforms.shape[1:])}; pass "
                f"{option('scenario.features', 'waveform')} to a speech scenario"
            )
        hidden: Tensor = self.network(waveforms[:, 0]).last_hidden_state  # (batch, frames, dim)
        return hidden.mean(dim=1)


def create_wav2vec2_body(
    name: str, *, pretrained: bool, weights: str | None = None
) -> Wav2Vec2Body:
    """Return a wav2vec2 for `create_backbone`.

    With published weights its convolutions are frozen, as is usual in fine-tuning.

    Args:
        name: `wav2vec2:` and a name on the hub or a folder.
        pretrained: use the published weights; else random ones of that architecture.
        weights: folder of a model to use instead of the one in `name`.

    Raises:
        UserError: if the model could not be read or downloaded.
    """
    source = FAMILY.source_of(name, weights)
    pretrained = pretrained or weights is not None
    network = load_wav2vec2(source, pretrained=pretrained)
    if pretrained:
        network.freeze_feature_encoder()  # type: ignore[operator]  # a module's attribute
    return Wav2Vec2Body(network)


def load_wav2vec2(name: str, *, pretrained: bool) -> nn.Module:
    """Return a `transformers.Wav2Vec2Model` in float32 with its own masks switched off.

    Its masks would draw from NumPy's generator; a scenario's random views replace them.

    Args:
        name: a name on the hub, looked up in the local cache first, or a folder with config.json
            and model.safetensors.
        pretrained: load the weights; else draw random ones.

    Raises:
        UserError: if something is missing, is not wav2vec2's, or cannot be downloaded.
    """
    return FAMILY.load(name, lambda source, local: _read(source, pretrained, local))


def _read(source: str, pretrained: bool, local: bool) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    masks = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    config = FAMILY.config(Wav2Vec2Config, source, local, **masks)
    if pretrained:
        return published(Wav2Vec2Model, source, config, local)
    model: nn.Module = Wav2Vec2Model(config)
    return model
