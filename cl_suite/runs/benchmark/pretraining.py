"""Whether a network's pretraining has seen classes of the stream, by `pretraining.yaml`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

from cl_suite.runs.config import RunConfig
from cl_suite.runs.reading import from_yaml

NONE = "none"  # the network starts from random weights


def seen_in_pretraining(config: RunConfig) -> tuple[str, str]:
    """Return none, disjoint, contains or unknown for a run, and why.

    Weights from a file count as the published ones of the network, since a file does not say what
    it was trained on.

    Example: DeiT on miniImageNet gives `("contains", "imagenet_1k: miniImageNet is drawn ...")`.
    """
    model = config.model
    if not model.pretrained and model.weights is None:
        return NONE, "it starts from random weights"
    table = _table()
    network = next(
        (data for name, data in table["networks"].items() if fnmatchcase(model.backbone, name)),
        None,
    )
    if network is None:
        return "unknown", f"no pretraining of '{model.backbone}' is listed"
    dataset = _dataset(config)
    entry = table["data"].get(network, {}).get(dataset)
    if entry is None:
        return "unknown", f"nothing is listed of {network} and {dataset}"
    return str(entry["is"]), f"{network}: {entry['why']}"


def _dataset(config: RunConfig) -> str:
    """Return the name of the data set that the scenario reads."""
    scenario = config.scenario
    for name in ("dataset", "source"):
        if isinstance(value := getattr(scenario, name, None), str):
            return value
    return config.scenario_name


@functools.cache
def _table() -> Mapping[str, Any]:
    file = resources.files("cl_suite.configs").joinpath("pretraining.yaml")
    content: Mapping[str, Any] = from_yaml(file.read_text("utf-8"))
    return content
