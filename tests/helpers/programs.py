"""Loads the programs of `benchmarks/` and `docs/` as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def load_program(path: str) -> Any:
    """Return a program as a module; modules beside it are found, as when it is run.

    Args:
        path: from the repository's root, such as `docs/tables.py`.
    """
    file = ROOT / path
    # two programs may have one file name
    name = path.removesuffix(".py").replace("/", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module
