"""What commands that look at pictures have in common: the backbone, a bar, the damaged ones."""

from __future__ import annotations

import contextlib
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.learner.commands.screen import Screen, shown
from cl_suite.learner.learner import Learner
from cl_suite.learner.pictures import Picture, Skipped, watched
from cl_suite.models.weights_files import DownloadError


@contextlib.contextmanager
def looking(screen: Screen, total: int, what: str) -> Iterator[None]:
    """Show progress inside the block, and name each picture that cannot be read on stderr."""
    with screen.progress(total, what) as bar:

        def follow(part: Sequence[Picture | Skipped]) -> None:
            for one in part:
                if isinstance(one, Skipped):
                    screen.note(f"skipped: {shown(one.reason)}")
            if bar is not None:
                bar.advance(bar.task_ids[0], len(part))

        with watched(follow):
            yield


def loaded(parsed: Namespace) -> Learner:
    """Return the classifier of a command, with its backbone."""
    with helpful_about_weights():
        return Learner.load(
            parsed.model, weights=weights_of(parsed), device=device_named(parsed.device)
        )


def weights_of(parsed: Namespace) -> str | None:
    """Return the weights file in full: the classifier is used from other folders too."""
    return None if parsed.weights is None else str(Path(parsed.weights).expanduser().resolve())


@contextlib.contextmanager
def helpful_about_weights() -> Iterator[None]:
    """Say in one sentence what to do about weights that cannot be downloaded."""
    try:
        yield
    except DownloadError as error:
        # the hub's client explains itself at length; its first sentence says it
        told = re.sub(r"\. [^;]*\)$", ")", str(error).partition("; ")[0])
        raise UserError(
            f"{told}; copy their .safetensors file from a machine with a connection, and name it "
            "by --weights FILE"
        ) from error


def device_named(name: str) -> str:
    """Return a device that works.

    Raises:
        UserError: for one that does not.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:
        # each backend raises its own errors
        raise UserError(
            f"--device {name} cannot be used on this machine or with this build of torch; use cpu "
            "or auto"
        ) from error
    return name
