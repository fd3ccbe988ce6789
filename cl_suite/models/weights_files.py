"""Where a backbone's weights come from: a safetensors file, or the folder of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cl_suite.errors import UserError


def load_weights(body: nn.Module, path: Path, name: str) -> None:
    """Load weights into a backbone, in the backbone's own precision.

    Args:
        path: a `.safetensors` file, or a run folder.
        name: the backbone's, for the message.

    Raises:
        UserError: if there are none, they cannot be read, or belong to another network.
    """
    if not path.exists():
        raise UserError(
            f"weights file '{path}' does not exist; give a .safetensors file, or the folder of a "
            "finished run"
        )
    state = _of_run(path) if path.is_dir() else _of_file(path)
    own = body.state_dict()
    wrong = [k for k, v in own.items() if k not in state or state[k].shape != v.shape]
    # counters that some exports leave out
    wrong = [k for k in wrong if not k.endswith("num_batches_tracked")]
    if wrong:
        raise UserError(
            f"weights file '{path}' does not fit backbone '{name}': '{wrong[0]}' is "
            "missing or has another shape; name the backbone that the file belongs to"
        )
    body.load_state_dict({k: state[k].to(own[k].dtype) for k in own if k in state}, strict=False)


def run_settings(path: Path) -> dict[str, Any] | None:
    """Return the model's settings of a finished run, None where a folder or file is none."""
    from cl_suite.runs.folder import RunFolder
    from cl_suite.storage import checkpoint

    folder = RunFolder(path.expanduser())
    if not folder.model_file.is_file():
        return None
    settings: dict[str, Any] = checkpoint.load(folder.model_file)["settings"]
    return settings


def _of_file(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"weights file '{path}' cannot be read as safetensors ({error})") from error


def _of_run(path: Path) -> Mapping[str, Tensor]:
    # a run's model is built from its settings, by what imports this module
    from cl_suite.runs.folder import RunFolder
    from cl_suite.runs.saved_model import load_model

    folder = RunFolder(path)
    if not folder.is_run:
        raise UserError(
            f"weights folder '{path}' is no run's; give one such as runs/omniglot/teen/seed0, or a "
            ".safetensors file"
        )
    return load_model(folder).classifier.backbone.body.state_dict()
