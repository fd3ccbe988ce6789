"""The finished base session as an artefact: many strategies may begin after one dear training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cl_suite.data.stream import Stream, fingerprint
from cl_suite.errors import UserError
from cl_suite.features.stats import ClassStats
from cl_suite.models.backbones import Backbone
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.storage import checkpoint


@dataclass
class BaseArtefact:
    """A finished base session, before any strategy acted on it.

    Attributes:
        model: the weights that differ from published ones.
        stats: class statistics of its features, None if its strategy did not ask for any.
    """

    model: dict[str, Tensor]
    stats: ClassStats | None


def base_identity(config: RunConfig, stream: Stream, backbone: Backbone) -> dict[str, Any]:
    """Return what two runs must share to share a base session.

    The published weights that the backbone starts from are part of it, as an artefact leaves out
    what is still as published, and so is its structure, adapters and prompts included. The training
    data itself is part of it: another split would put this run's test images into the other's
    training.
    """
    info = stream.info
    return {
        "base classes": [info.class_names[c] for c in info.session_classes[0]],
        "class ids": list(info.session_classes[0]),
        "backbone": config.model.backbone,
        "backbone weights": backbone.weights,
        "backbone structure": _structure(backbone),
        "head": config.model.head,
        "preprocessing": info.preprocessing,
        "input shape": list(info.input_shape),
        "base training data": fingerprint(stream.train[:1]),
    }


def save_base(folder: RunFolder, artefact: BaseArtefact, identity: dict[str, Any]) -> None:
    """Write the artefact into a run's folder."""
    tree = {
        "identity": identity,
        "model": artefact.model,
        "stats": None if artefact.stats is None else artefact.stats.state_dict(),
    }
    checkpoint.save(folder.base_file, tree)


def load_base(config: RunConfig, stream: Stream, backbone: Backbone) -> BaseArtefact:
    """Return the base session of the run that `--start-from` names.

    Raises:
        UserError: if that run has none, or differs in classes, data, backbone or preprocessing.
    """
    folder = RunFolder(Path(str(config.start_from)).expanduser())
    if not folder.base_file.exists():
        raise UserError(
            f"--start-from '{folder.path}' has no finished base session; give a run "
            "folder such as runs/omniglot/teen/seed0"
        )
    tree = checkpoint.load(folder.base_file)
    for key, value in base_identity(config, stream, backbone).items():
        if tree["identity"].get(key) != value:
            raise UserError(
                f"--start-from '{folder.path}' has another {key}: "
                f"{_short(tree['identity'].get(key))}, where this run has {_short(value)}; start "
                "from a run that agrees, or train the base session here"
            )
    stats = None if tree["stats"] is None else ClassStats.from_state_dict(tree["stats"])
    return BaseArtefact(tree["model"], stats)


def _structure(backbone: Backbone) -> str:
    shapes = sorted((name, tuple(t.shape)) for name, t in backbone.state_dict().items())
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
