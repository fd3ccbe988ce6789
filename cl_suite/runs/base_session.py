"""Saves and loads a finished base session, so many strategies can start from one training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cl_suite.data.stream import Stream, fingerprint
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.session import BaseArtefact
from cl_suite.errors import UserError
from cl_suite.features.stats import ClassStats
from cl_suite.models.backbones import Backbone
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.storage import checkpoint


def base_identity(config: RunConfig, stream: Stream, backbone: Backbone) -> dict[str, Any]:
    """Return the properties in which two runs must agree to share a base session.

    They include the backbone's published weights, because an artefact leaves out tensors that are
    still as published. They include its structure, with adapters and prompts. They include the
    training data: another split would put this run's test images into the other run's training.
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
        "training": None if artefact.training is None else artefact.training.state_dict(),
    }
    checkpoint.save(folder.base_file, tree)


def load_base(config: RunConfig, stream: Stream, backbone: Backbone) -> BaseArtefact:
    """Return the base session of the run that `--start-from` names.

    Raises:
        UserError: if that run has none, or differs in classes, data, backbone or preprocessing.
    """
    folder = RunFolder(Path(str(config.start_from)).expanduser())
    if not folder.path.exists():
        raise UserError(
            f"--start-from '{folder.path}' does not exist, so it has no finished base session; "
            "pass a run folder such as runs/omniglot/teen/seed0"
        )
    if not folder.base_file.exists():
        raise UserError(
            f"--start-from '{folder.path}' has no finished base session; pass a run "
            "folder such as runs/omniglot/teen/seed0"
        )
    tree = _read(folder)
    for key, value in base_identity(config, stream, backbone).items():
        if tree["identity"].get(key) != value:
            raise UserError(
                f"--start-from '{folder.path}' differs in {key}: "
                f"{_short(tree['identity'].get(key))}, but this run has {_short(value)}; start "
                "from a run that agrees, or train the base session here"
            )
    try:
        stats = None if tree["stats"] is None else ClassStats.from_state_dict(tree["stats"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(folder, f"its class statistics: {error}") from error
    # runs of version 0.3 and earlier have none
    training = BaseTraining.from_state_dict(tree.get("training"))
    return BaseArtefact(tree["model"], stats, training)


def drop_damaged_base(folder: RunFolder) -> str | None:
    """Delete a damaged base session of a resumed run and return why it was damaged."""
    if not folder.base_file.exists():
        return None
    try:
        _read(folder)
    except UserError as error:
        folder.base_file.unlink(missing_ok=True)
        return str(error)
    return None


def _read(folder: RunFolder) -> dict[str, Any]:
    tree = checkpoint.load(folder.base_file)
    for key, kind in (("identity", dict), ("model", dict), ("stats", (dict, type(None)))):
        if key not in tree or not isinstance(tree[key], kind):
            raise _unusable(folder, f"its '{key}' is missing or of another kind")
    return tree


def _unusable(folder: RunFolder, reason: str) -> UserError:
    return UserError(
        f"the base session of run '{folder.path}' cannot be used ({reason}); it comes from another "
        "version of the suite, or was edited"
    )


def _structure(backbone: Backbone) -> str:
    shapes = sorted((name, tuple(t.shape)) for name, t in backbone.state_dict().items())
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
