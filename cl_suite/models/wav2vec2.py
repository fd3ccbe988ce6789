"""wav2vec2 as a backbone for raw speech, from the hub, the local cache or a folder.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
NeurIPS 2020, arXiv 2006.11477, through transformers. Named `wav2vec2:facebook/wav2vec2-base-960h`,
or `wav2vec2:` and a folder. Weights are read from safetensors alone, never from a pickle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError

PREFIX = "wav2vec2:"  # begins the name of such a model
EXAMPLE = "wav2vec2:facebook/wav2vec2-base-960h"


class Wav2Vec2Body(nn.Module):
    """From standardised waveforms `(batch, 1, length)` at 16 kHz to features `(batch, dim)`.

    The feature is the mean of the last layer's hidden values over time. All sounds have one length,
    so no attention mask is needed.

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
                f"{tuple(waveforms.shape[1:])}; pass --scenario.features waveform to a speech "
                "scenario"
            )
        hidden: Tensor = self.network(waveforms[:, 0]).last_hidden_state  # (batch, frames, dim)
        return hidden.mean(dim=1)


def create_wav2vec2_body(
    name: str, *, pretrained: bool, weights: str | None = None
) -> Wav2Vec2Body:
    """Return a wav2vec2 for `create_backbone`.

    With published weights its convolutions are frozen, as is customary when it is tuned.

    Args:
        name: `wav2vec2:` and a name on the hub or a folder.
        pretrained: take the published weights; else random ones of that architecture.
        weights: folder of a model, taken instead of what `name` says.

    Raises:
        UserError: if it cannot be had.
    """
    if weights is not None and not Path(weights).expanduser().is_dir():
        raise UserError(
            f"weights '{weights}' of backbone '{name}' are no folder; give the folder that has "
            "wav2vec2's config.json and model.safetensors"
        )
    source = name.removeprefix(PREFIX) if weights is None else weights
    pretrained = pretrained or weights is not None
    network = load_wav2vec2(source, pretrained=pretrained)
    if pretrained:
        network.freeze_feature_encoder()  # type: ignore[operator]
    return Wav2Vec2Body(network)


def load_wav2vec2(name: str, *, pretrained: bool) -> nn.Module:
    """Return a `transformers.Wav2Vec2Model` in float32, its own masks switched off.

    Its masks would draw from NumPy's generator; a scenario's random views take their place.

    Args:
        name: a name on the hub, looked up in the local cache first, or a folder with config.json
            and model.safetensors.
        pretrained: load the weights; else draw random ones.

    Raises:
        UserError: if something is missing, is not wav2vec2's, or cannot be downloaded.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        try:
            return _load(str(folder), pretrained, local=True)
        except Exception as error:
            # the library raises many kinds for a damaged file
            raise UserError(
                f"folder '{name}' is no wav2vec2 model that can be read ({_reason(error)}); it "
                "needs config.json and model.safetensors"
            ) from error
    for local in (True, False):
        try:
            return _load(name, pretrained, local=local)
        except Exception as error:
            # the hub's client raises many kinds; a cache without the model is the customary case
            if not local:
                raise UserError(
                    f"wav2vec2 model '{name}' cannot be had ({_reason(error)}); pass a folder with "
                    f"its files by --model.weights FOLDER, or a name such as '{EXAMPLE}'"
                ) from error
    raise AssertionError("the last attempt returns or raises")


def _load(source: str, pretrained: bool, *, local: bool) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    content, _ = Wav2Vec2Config.get_config_dict(source, local_files_only=local)
    if content.get("model_type") != "wav2vec2":
        raise ValueError(f"its config.json says model_type '{content.get('model_type')}'")
    config = Wav2Vec2Config.from_pretrained(
        source, local_files_only=local, mask_time_prob=0.0, mask_feature_prob=0.0
    )
    model: nn.Module
    if not pretrained:
        model = Wav2Vec2Model(config)
        return model
    with _quiet():
        model, found = Wav2Vec2Model.from_pretrained(
            source,
            config=config,
            local_files_only=local,
            use_safetensors=True,  # never a pickle
            dtype=torch.float32,
            output_loading_info=True,
        )
    if found["missing_keys"]:
        raise ValueError(f"its weights lack '{min(found['missing_keys'])}'")
    return model


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Show neither a progress bar nor the list of tensors that are of no use here."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
