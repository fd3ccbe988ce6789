"""Checks what a classifier file says before anything is built from it: it may be a stranger's.

A file chooses neither what is read nor what is downloaded, and asks for no more memory than a
classifier needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.transform_plain import from_plain
from cl_suite.errors import UserError
from cl_suite.learner.extractor import BackboneSpec
from cl_suite.learner.origin import READING
from cl_suite.learner.rule import Rule
from cl_suite.models.settings import ModelConfig

LARGEST_SIZE = 2**16  # of a parameter other than a seed
LARGEST_SIDE = 8192  # pixels, as in `ModelConfig`
MOST_INPUTS = 2**24  # numbers in a prepared picture
# what `commands.history` and the server tell of each step
STEPS: Mapping[str, Mapping[str, type]] = {
    "start": {"labels": list, "pictures": int},
    "learn": {"label": str, "pictures": list},
    "forget": {"label": str},
    "rename": {"label": str, "to": str},
    "merge": {"labels": list},
}


def check_spec(spec: BackboneSpec, path: Path) -> None:
    """Check what a backbone is made of.

    Raises:
        UserError: if it would read or fetch what the user did not name.
        ValueError, TypeError: if something is not of its kind, or too large.
    """
    _check_kinds(spec)
    try:
        settings = ModelConfig(**spec.settings)
    except UserError as error:
        raise ValueError(str(error)) from error
    for name, value in settings.backbone_args.items():
        if name.startswith(READING) or not _is_plain(value):
            raise UserError(
                f"classifier file '{path}' asks to build its backbone with '{name}', which may "
                "read or fetch other files; do not use it unless you trust who made it, and then "
                "ask for one without it"
            )
    if spec.published is None and (settings.pretrained or settings.weights is not None):
        raise ValueError("its backbone names weights, but no digest of them")
    if settings.beside_weights is not None or (settings.beside and spec.published is not None):
        raise ValueError("its second network names weights")
    check_sizes(settings.backbone_args)
    check_sizes(spec.strategy.get("parameters", {}))
    if math.prod(spec.input_shape) > MOST_INPUTS:
        raise ValueError(f"input shape {spec.input_shape} is too large")
    if any(type(x) is int and abs(x) > LARGEST_SIDE for x in _values(spec.prepare)):
        raise ValueError(f"its preparation of pictures has sides above {LARGEST_SIDE} pixels")
    prepared = from_plain(spec.prepare)(torch.zeros(3, 48, 40, dtype=torch.uint8))
    if tuple(prepared.shape) != spec.input_shape:
        raise ValueError(f"pictures are prepared as {tuple(prepared.shape)}")


def check_sizes(parameters: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a parameter by which more memory is asked for than is sensible."""
    for name, value in parameters.items():
        is_seed = name.endswith("seed")
        if not is_seed and any(type(x) is int and abs(x) > LARGEST_SIZE for x in _values(value)):
            raise ValueError(f"parameter '{name}' is above {LARGEST_SIZE}")


def check_values(tree: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a note, a rate or a history that is none."""
    if not isinstance(tree["note"], str):
        raise ValueError("its note is not a text")
    rate = tree["false_alarms"]
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise ValueError(f"false_alarms {rate!r:.40}")
    for step in tree["history"]:
        kind = step.get("step") if isinstance(step, dict) else None
        wanted = STEPS.get(kind) if isinstance(kind, str) else None
        if wanted is None or not all(
            isinstance(step.get(key), of) for key, of in {**wanted, "when": str}.items()
        ):
            raise ValueError(f"step {step!r:.60} of its history")


def check_matrices(tree: Mapping[str, Any], rule: Rule) -> None:
    """Raise `ValueError` for statistics of another shape or type than the rule's, or not finite."""
    square, num_moments = (rule.width, rule.width), sum(map(bool, tree["has_moment"]))
    wanted = {
        "features": (torch.float32, (len(tree["features"]), rule.dim)),
        "totals": (torch.float64, (len(tree["labels"]), rule.width)),
        "moments": (torch.float64, (num_moments, *square)),
        "pooled": (torch.float64, square),
    }
    for name, (dtype, shape) in wanted.items():
        tensor = tree[name]
        if tensor is None and not (name == "moments" and num_moments) and name != "totals":
            continue
        # a sum is finite only if all are
        if tensor.dtype != dtype or tensor.shape != shape or not bool(tensor.sum().isfinite()):
            raise ValueError(f"'{name}' is of another shape or type, or not finite")
    if rule.pools_moments and tree["labels"] and tree["pooled"] is None:
        raise ValueError("'pooled' is missing")


def _check_kinds(spec: BackboneSpec) -> None:
    strategy = spec.strategy
    is_strategy = strategy == {} or (
        isinstance(strategy, dict)
        and strategy.keys() == {"name", "parameters"}
        and isinstance(strategy["name"], str)
        and isinstance(strategy["parameters"], dict)
    )
    texts = (spec.digest, spec.published or "")
    if not is_strategy or not all(isinstance(text, str) for text in texts):
        raise ValueError("its backbone's strategy or digests")
    if not all(isinstance(tensor, Tensor) for tensor in spec.tensors.values()):
        raise ValueError("its backbone's tensors")


def _is_plain(value: object) -> bool:
    return all(x is None or isinstance(x, (bool, int, float, str)) for x in _values(value))


def _values(value: object) -> Iterator[object]:
    """Yield the values within lists and mappings."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for each in value:
        yield from _values(each)
