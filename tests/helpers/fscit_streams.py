"""Small FSCIT streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_suite.data.stream import Stream
from cl_suite.scenarios.fscit import FSCIT


def scenario(root: Path | None, dataset: str = "dtd", **parameters: Any) -> FSCIT:
    settings = {"base_classes": 3, "way": 2, "shots": 2, "image_size": 8, **parameters}
    return FSCIT(dataset=dataset, root=None if root is None else str(root), **settings)  # type: ignore[arg-type]


def build(root: Path | None, dataset: str = "dtd", **parameters: Any) -> Stream:
    return scenario(root, dataset, **parameters).build()
