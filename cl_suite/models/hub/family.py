"""Loads transformers models from a folder, the local cache or the hub, never from a pickle."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cl_suite.errors import UserError, option
from cl_suite.models.weights_files import DownloadError

# `owner/model`, or the `model` of an old one
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
Loaded = TypeVar("Loaded")
Read = Callable[[str, bool], Loaded]  # arguments: a source, and whether to use only local files


@dataclass(frozen=True)
class Family:
    """A kind of model, as messages name it, and how to load it.

    Attributes:
        title: name in messages, e.g. CLIP.
        model_type: the `model_type` in its config.json.
        needs: the files a folder must contain.
        example: an example name with its prefix.
    """

    title: str
    model_type: str
    needs: str
    example: str

    def load(self, name: str, read: Read[Loaded]) -> Loaded:
        """Return what `read` loads from a folder of that name, the local cache or the hub.

        Raises:
            UserError: if something is missing, belongs to another kind, or cannot be downloaded.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            try:
                return read(str(folder), True)
            except Exception as error:
                # the library raises many kinds of errors for a damaged file
                raise UserError(
                    f"folder '{name}' has no readable {self.title} model ({reason(error)}); "
                    f"it needs {self.needs}"
                ) from error
        try:
            return read(name, True)
        except Exception:
            self.check_name(name)
            # usually the model is just not in the cache yet
            try:
                return read(name, False)
            except Exception as error:
                raise self.cannot_be_had(name, error) from error

    def cannot_be_had(self, name: str, error: Exception) -> UserError:
        """Return the error for a model that was neither found nor downloaded."""
        return DownloadError(
            f"{self.title} model '{name}' could not be downloaded ({reason(error)}); pass a folder "
            f"with its files ({option('model.weights', 'FOLDER')}), or a name such as "
            f"'{self.example}'"
        )

    def check_name(self, name: str) -> None:
        """Raise `UserError` for a name that can only be a folder, if that does not exist."""
        is_folder = bool(name) and Path(name).expanduser().is_dir()
        if _HUB_NAME.fullmatch(name) is None and not is_folder:
            raise UserError(
                f"{self.title} folder '{name}' does not exist; pass a folder with {self.needs}, or "
                f"a name such as '{self.example}'"
            )

    def source_of(self, name: str, weights: str | None) -> str:
        """Return the name on the hub, or the folder, that a backbone is read from.

        Args:
            name: of the backbone, with or without its prefix.
            weights: folder of a model to use instead of the one in `name`.

        Raises:
            UserError: if `weights` is set but is not a folder.
        """
        self._check_folder(weights, name)
        return (name.partition(":")[2] or name) if weights is None else weights

    def _check_folder(self, weights: str | None, backbone: str) -> None:
        """Raise `UserError` if `weights` is set but is not a folder."""
        if weights is not None and not Path(weights).expanduser().is_dir():
            raise UserError(
                f"weights '{weights}' of backbone '{backbone}' is not a folder; pass the folder "
                f"with {self.title}'s {self.needs}"
            )

    def config(self, kind: Any, source: str, local: bool, **settings: Any) -> Any:
        """Return the configuration, of class `kind`; raise `ValueError` for another model type."""
        content, _ = kind.get_config_dict(source, local_files_only=local)
        if content.get("model_type") != self.model_type:
            raise ValueError(f"its config.json has model_type '{content.get('model_type')}'")
        return kind.from_pretrained(source, local_files_only=local, **settings)


def published(kind: Any, source: str, config: Any, local: bool, **settings: Any) -> nn.Module:
    """Return a model of class `kind` in float32 with its published weights.

    Args:
        settings: further arguments of its `from_pretrained`.

    Raises:
        ValueError: if the file lacks some of them.
    """
    with _quiet():
        model, found = kind.from_pretrained(
            source,
            config=config,
            local_files_only=local,
            use_safetensors=True,  # never a pickle
            dtype=torch.float32,
            output_loading_info=True,
            **settings,
        )
    if found["missing_keys"]:
        raise ValueError(f"its weights lack '{min(found['missing_keys'])}'")
    loaded: nn.Module = model
    return loaded


def reason(error: Exception) -> str:
    """Return the first line of an error's message, or the error's kind if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar and the list of unused tensors."""
    from transformers.utils import logging

    controls: Any = logging  # the library is read as untyped
    shown, verbosity = controls.is_progress_bar_enabled(), controls.get_verbosity()
    controls.disable_progress_bar()
    controls.set_verbosity_error()
    try:
        yield
    finally:
        controls.set_verbosity(verbosity)
        if shown:
            controls.enable_progress_bar()
