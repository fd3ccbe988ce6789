"""The networks of timm: their names, how they are made, and the images that they expect."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.networks import OWN_BACKBONES
from cl_suite.models.weights_files import DownloadError


def check_timm_name(name: str) -> None:
    """Raise `UserError` if timm has no network of this name, or no weights of its tag."""
    import timm

    if name.startswith("hf-hub:"):
        return
    hint = "see `cl-suite list backbones`"
    if not timm.is_model(name):
        known = [*OWN_BACKBONES, *timm.list_models()]
        if near := difflib.get_close_matches(name, known, n=1):
            hint = f"did you mean '{near[0]}'?"
        raise UserError(f"backbone '{name}' is unknown; {hint}")
    network, _, tag = name.partition(".")
    tagged = timm.list_models(f"{network}.*", pretrained=True)
    if tag and name not in tagged:
        near = difflib.get_close_matches(name, tagged, n=1)
        if near or tagged:
            hint = f"did you mean '{(near or tagged)[0]}'?"
        raise UserError(
            f"backbone '{name}' is unknown: '{network}' has no published weights '{tag}'; {hint}"
        )


def timm_model(
    name: str, in_channels: int, pretrained: bool, arguments: dict[str, Any]
) -> nn.Module:
    """Return a network of timm that gives features.

    Args:
        in_channels: of its images.
        pretrained: with its published weights, from the local cache or the hub.
        arguments: further ones of `timm.create_model`.

    Raises:
        UserError: if the name is unknown or the arguments do not fit.
        DownloadError: if the weights are not available.
    """
    import timm

    check_timm_name(name)
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=in_channels, **arguments
        )
    except Exception as error:
        # the hub's client raises many kinds of errors; without a download, the arguments are wrong
        if arguments:
            raise UserError(
                f"backbone '{name}' cannot be made with {option('model.backbone_args', arguments)} "
                f"({error}); correct them or leave them out"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not pretrained:
            raise UserError(
                f"backbone '{name}' cannot be made ({reason}); choose another, see `cl-suite list "
                "backbones`"
            ) from error
        raise DownloadError(
            f"the published weights of backbone '{name}' could not be downloaded ({reason}); pass "
            f"a file with {option('model.weights', 'FILE.safetensors')}, or "
            f"{option('model.pretrained', 'false')}"
        ) from error
    return model


def image_statistics(name: str) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviation of each channel of a network's images, if known.

    A name that is not one of timm's own, such as one on the hub, is unknown and not looked up.
    """
    import timm

    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return None if known is None else (torch.tensor(known.mean), torch.tensor(known.std))
