"""Where a stored backbone's weights may come from, when a file and not the user names the place."""

from __future__ import annotations

from pathlib import Path

from cl_suite.errors import UserError, option

# arguments by which timm reads files or fetches them
READING = ("checkpoint", "pretrained", "cache_dir")


def check_source(backbone: str, weights: str | None) -> None:
    """Check where weights would come from that the user has not named.

    Args:
        backbone, weights: as the file names them.

    Raises:
        UserError: if the file names a place to download from that the user has never used, or
            something other than a file.
    """
    kind, _, name = backbone.partition(":")
    if not name:
        if weights is not None and not Path(weights).expanduser().is_file():
            raise UserError(f"the backbone's weights '{weights}' are no file; {_name_them()}")
    elif (kind == "hf-hub" or weights is None) and not _is_here(name):
        # timm fetches the settings of such a network even if its weights are a file
        raise UserError(
            f"the classifier's backbone '{backbone}' is not on this machine, and a classifier "
            f"file does not choose what is downloaded from '{name}'; {_name_them()}, or download "
            "it first"
        )


def _is_here(name: str) -> bool:
    """Return whether a model is a folder here or was downloaded before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).expanduser().is_dir():
        return True
    repository, _, revision = name.partition("@")
    try:
        found = try_to_load_from_cache(repository, "config.json", revision=revision or None)
    except HFValidationError:
        return False
    return isinstance(found, str)


def _name_them() -> str:
    return f"if you trust it, name them by {option('weights', 'FILE')}"
