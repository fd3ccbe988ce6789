"""Loads CLIP's weights, tokenizer and preprocessing from a folder, the local cache or the hub.

Weights are read only from safetensors, never from a pickle.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from cl_suite.data.transforms import Interpolation
from cl_suite.errors import UserError
from cl_suite.models.hub.family import Family, published, reason

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
EXAMPLE = "clip:openai/clip-vit-base-patch16"
FAMILY = Family("CLIP", "clip", "config.json, model.safetensors and tokenizer files", EXAMPLE)
NUM_BYTES = 256  # smallest byte-level vocabulary
# as the library numbers them
INTERPOLATIONS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def load_clip(name: str, *, pretrained: bool) -> tuple[nn.Module, Any]:
    """Return a CLIP model in float32, and its tokenizer.

    Args:
        name: a name on the hub, looked up in the local cache first, or a folder with config.json,
            model.safetensors and the tokenizer's files.
        pretrained: load the weights; else draw random ones.

    Raises:
        UserError: if something is missing, is not CLIP's, or cannot be downloaded.
    """
    FAMILY.check_name(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_tokenizer_files(folder)
    return FAMILY.load(name, lambda source, local: _read(source, pretrained, local))


def _read(source: str, pretrained: bool, local: bool) -> tuple[nn.Module, Any]:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    config = FAMILY.config(CLIPConfig, source, local)
    tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=local)
    if not NUM_BYTES <= len(tokenizer) <= config.text_config.vocab_size:
        raise ValueError(
            f"its tokenizer has {len(tokenizer)} tokens, its text tower "
            f"{config.text_config.vocab_size}"
        )
    if not pretrained:
        return CLIPModel(config), tokenizer
    return published(CLIPModel, source, config, local), tokenizer


def clip_preprocessing(
    name: str, weights: str | None = None
) -> tuple[int, tuple[float, ...], tuple[float, ...], Interpolation]:
    """Return the size, mean, std and interpolation that a CLIP was trained with.

    They come from its preprocessor_config.json; without one, CLIP's published values are used.

    Args:
        name, weights: as in `create_clip_body`.

    Raises:
        UserError: if the hub cannot be reached, or a folder does not exist or has a damaged file.
    """
    source = FAMILY.source_of(name, weights)
    FAMILY.check_name(source)
    content = _json(source, "preprocessor_config.json")
    if content is None:
        content = (_json(source, "processor_config.json") or {}).get("image_processor", {})
    size = content.get("crop_size", content.get("size"))
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    if size is None:
        size = (_json(source, "config.json") or {}).get("vision_config", {}).get("image_size", 224)
    mean, std = content.get("image_mean", CLIP_MEAN), content.get("image_std", CLIP_STD)
    mode = INTERPOLATIONS.get(content.get("resample", 3), "bicubic")
    return int(size), tuple(mean), tuple(std), mode


def _json(source: str, file: str) -> dict[str, Any] | None:
    """Return a JSON file's content from a folder or the hub, or None if neither has it."""
    folder = Path(source).expanduser()
    path = folder / file if folder.is_dir() else _from_hub(source, file)
    if path is None or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"'{path}' of CLIP model '{source}' cannot be read ({reason(error)}); copy it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' of CLIP model '{source}' is not a mapping; copy it again")
    return content


def _from_hub(source: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError, EntryNotFoundError):
        return Path(hf_hub_download(source, file, local_files_only=True))
    try:
        return Path(hf_hub_download(source, file))
    except LocalEntryNotFoundError as error:  # no connection
        raise FAMILY.cannot_be_had(source, error) from error
    except EntryNotFoundError:
        return None
    except Exception as error:
        # the hub's client raises many kinds of errors
        raise FAMILY.cannot_be_had(source, error) from error


def _check_tokenizer_files(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        # the library would make up an empty tokenizer
        raise UserError(
            f"folder '{folder}' has no tokenizer, so CLIP cannot read class names; add its "
            "tokenizer.json, or its vocab.json and merges.txt"
        )
