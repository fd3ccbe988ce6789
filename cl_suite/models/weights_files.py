"""Loads a backbone's weights from a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from cl_suite.errors import UserError


class DownloadError(UserError):
    """Published weights that are neither in the cache nor can be downloaded."""


def load_weights(body: nn.Module, path: Path, name: str) -> None:
    """Load weights into a backbone, in the backbone's own precision.

    Args:
        path: a `.safetensors` file.
        name: the backbone's name, for the message.

    Raises:
        UserError: if the file is missing, cannot be read, or belongs to another network.
    """
    if not path.exists():
        raise UserError(
            f"weights file '{path}' does not exist; pass a .safetensors file, or the folder of a "
            "finished run"
        )
    take_state(body, _read(path), path, name)


def take_state(body: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load tensors into a backbone, in the backbone's own precision; other tensors are ignored.

    Args:
        path, name: the tensors' file and the backbone's name, for the message.

    Raises:
        UserError: if they belong to another network.
    """
    own = body.state_dict()
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    # counters that some exports omit
    wrong = [k for k in wrong if not k.endswith("num_batches_tracked")]
    if wrong:
        raise UserError(
            f"weights file '{path}' does not fit backbone '{name}': '{wrong[0]}' is "
            "missing or has another shape; choose the backbone that the file was saved from"
        )
    body.load_state_dict({k: state[k].to(own[k].dtype) for k in own if k in state}, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights file '{path}' cannot be read as safetensors ({error})") from error
