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
WORST_FIRST = ("contains", "unknown", "disjoint")


def seen_in_pretraining(config: RunConfig) -> tuple[str, str]:
    """Return none, disjoint, contains or unknown for a run, and why; the worst of two networks.

    Weights from a file count as the published ones of the network, since a file does not say what
    it was trained on.

    Example: DeiT on miniImageNet gives `("contains", "imagenet_1k: miniImageNet is drawn ...")`.
    """
    model = config.model
    if not model.pretrained and model.weights is None:
        return NONE, "it starts from random weights"
    found = [_seen_by(name, _dataset(config)) for name in model.networks]
    return min(found, key=lambda each: WORST_FIRST.index(each[0]))


def _seen_by(network_name: str, dataset: str) -> tuple[str, str]:
    table = _table()
    network = next(
        (data for name, data in table["networks"].items() if fnmatchcase(network_name, name)), None
    )
    if network is None:
        return "unknown", f"no pretraining of '{network_name}' is listed"
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
