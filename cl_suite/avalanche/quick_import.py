"""Makes importing Avalanche quicker: libraries that it imports but hardly uses wait until used.

Three of them take a third of the time in which a run starts. Each is replaced by a stand-in while
Avalanche is imported; the first use of a stand-in imports the library itself. The stand-ins leave
`sys.modules` again, so everybody else imports the libraries as ever.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

PLAIN = ("wandb", "gdown")  # Avalanche writes `import wandb`, and uses it in functions


class StandIn(ModuleType):
    """A module that imports the library of its name once something of it is used."""

    def __getattr__(self, name: str) -> Any:
        # the import system asks for these names; that does not use the library
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def quick_import() -> Iterator[None]:
    """Hold back slow libraries, and the warning on missing QP solvers, while Avalanche is imported.

    A library that is imported already stays as it is.
    """
    added = {} if "avalanche" in sys.modules else _stand_ins()
    sys.modules.update(added)
    try:
        with warnings.catch_warnings():
            # only GEM needs a solver
            warnings.filterwarnings("ignore", message=".*QP solver.*")
            yield
    finally:
        for name, module in added.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _stand_ins() -> dict[str, ModuleType]:
    found: dict[str, ModuleType] = {}
    for name in PLAIN:
        if name not in sys.modules and (spec := importlib.util.find_spec(name)) is not None:
            found[name] = StandIn(name)
            found[name].__spec__ = spec
    if "torchmetrics" not in sys.modules:
        found |= _torchmetrics()
    return found


def _torchmetrics() -> dict[str, ModuleType]:
    """Return stand-ins for what Avalanche's top-k accuracy takes from torchmetrics."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None:
        return {}
    whole, functional = StandIn("torchmetrics"), StandIn("torchmetrics.functional")
    whole.__spec__ = spec
    whole.__path__ = list(spec.submodule_search_locations or ())
    whole.__dict__["__version__"] = importlib.metadata.version("torchmetrics")
    functional.__dict__["accuracy"] = _later("torchmetrics.functional", "accuracy")
    return {whole.__name__: whole, functional.__name__: functional}


def _later(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call
