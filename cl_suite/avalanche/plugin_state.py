"""Converts a plugin's state to a tree of plain values for a checkpoint, and restores it.

If a plugin has `state_dict` / `load_state_dict`, we use them. Avalanche's own plugins have neither,
so we walk their attributes: tensors, containers, networks (as their state), Avalanche's helper
objects, and data sets. Data sets become sample ids, gathered again from the sessions seen so far.
"""

from __future__ import annotations

import copy
import importlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_NAMED_FUNCTIONS: dict[str, Callable[..., Any]] = {"zeros": torch.zeros, "ones": torch.ones}
_MAPPINGS = (dict, OrderedDict, defaultdict)
_PLAIN = (bool, int, float, str, Tensor, np.ndarray)


class UnsaveableError(TypeError):
    """A plugin keeps something that a checkpoint cannot hold."""


def capture(plugin: Any) -> Any:
    """Return the learned state of a plugin as a tree for `checkpoint.save`.

    Raises:
        UnsaveableError: if it holds an object that we cannot save.
    """
    if hasattr(plugin, "state_dict"):
        return encode(plugin.state_dict())
    return {name: encode(value) for name, value in attributes_of(plugin).items()}


def attributes_of(plugin: Any) -> dict[str, Any]:
    """Return an Avalanche object's attributes but code, which its constructor sets."""
    return {name: value for name, value in vars(plugin).items() if not _is_code(value)}


def restore(plugin: Any, tree: Any, gather: Callable[[list[int], str], Any], model: Any) -> None:
    """Set a freshly constructed plugin to a captured state.

    Args:
        gather: maps (sample ids, transform group) to a data set.
        model: the network, copied if the plugin kept its own one.
    """
    decoder = _Decoder(gather, model)
    if hasattr(plugin, "load_state_dict"):
        plugin.load_state_dict(decoder.decode(tree, plugin.state_dict()))
        return
    for name, value in tree.items():
        setattr(plugin, name, decoder.decode(value, getattr(plugin, name, None)))


def kept_samples(tree: Any) -> set[int]:
    """Return the ids of all samples that a captured state contains."""
    if isinstance(tree, dict):
        if tree.get("kind") == "samples":
            return set(tree["ids"])
        return set().union(*(kept_samples(value) for value in tree.values()))
    if isinstance(tree, (list, tuple)):
        return set().union(*(kept_samples(value) for value in tree))
    return set()


def encode(value: Any) -> Any:
    """Return `value` with data sets, networks and Avalanche's objects turned into marked dicts."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, torch.device):
        return {"kind": "device", "name": str(value)}
    if isinstance(value, torch.Size):
        return {"kind": "size", "sizes": list(value)}
    # exactly these types: a subclass would be restored as its parent
    if type(value) is set:
        return set(value)
    if type(value) in (list, tuple):
        return type(value)([encode(item) for item in value])
    if type(value) in _MAPPINGS:
        items = [(key, encode(item)) for key, item in value.items()]
        return {"kind": type(value).__name__, "items": items}
    if isinstance(value, nn.Module):
        training = [name for name, part in value.named_modules() if part.training]
        return {"kind": "module", "state": dict(value.state_dict()), "training": training}
    for name, function in _NAMED_FUNCTIONS.items():
        if value is function:
            return {"kind": "function", "name": name}
    return _encode_avalanche(value)


def _encode_avalanche(value: Any) -> Any:
    from cl_suite.avalanche import api, internals

    if isinstance(value, api.AvalancheDataset):
        ids = api.sample_ids(value)
        return {"kind": "samples", "ids": ids, "group": internals.transform_group(value)}
    cls = type(value)
    if not cls.__module__.startswith("avalanche."):
        raise UnsaveableError(f"{cls.__module__}.{cls.__name__}")
    attributes = {name: encode(each) for name, each in attributes_of(value).items()}
    return {"kind": "object", "class": f"{cls.__module__}:{cls.__qualname__}", "of": attributes}


def _is_code(value: Any) -> bool:
    named = any(value is function for function in _NAMED_FUNCTIONS.values())
    return callable(value) and hasattr(value, "__name__") and not named


class _Decoder:
    def __init__(self, gather: Callable[[list[int], str], Any], model: Any) -> None:
        self.gather = gather
        self.model = model

    def decode(self, value: Any, present: Any = None) -> Any:
        """Return the value of an encoded tree; `present` is the fresh plugin's value for it."""
        if isinstance(value, (list, tuple)):
            return type(value)([self.decode(item) for item in value])
        if not isinstance(value, dict):
            return value
        kind = value.get("kind")
        if kind in ("dict", "defaultdict", "OrderedDict"):
            return self._mapping(value, present)
        if kind == "samples":
            return self.gather(value["ids"], value["group"])
        if kind == "device":
            return torch.device(value["name"])
        if kind == "size":
            return torch.Size(value["sizes"])
        if kind == "function":
            return _NAMED_FUNCTIONS[value["name"]]
        if kind == "module":
            return self._module(value, present)
        if kind == "object":
            return self._object(value, present)
        return {key: self.decode(item) for key, item in value.items()}

    def _mapping(self, value: dict[str, Any], present: Any) -> Any:
        inner = present if isinstance(present, Mapping) else {}
        items = {key: self.decode(item, inner.get(key)) for key, item in value["items"]}
        if value["kind"] == "defaultdict":
            # its factory is code, so it comes from the fresh plugin
            return defaultdict(getattr(present, "default_factory", None), items)
        return OrderedDict(items) if value["kind"] == "OrderedDict" else items

    def _module(self, value: dict[str, Any], present: Any) -> nn.Module:
        module = present if isinstance(present, nn.Module) else copy.deepcopy(self.model)
        module.load_state_dict(value["state"])
        for name, part in module.named_modules():
            part.training = name in value["training"]
        return module

    def _object(self, value: dict[str, Any], present: Any) -> Any:
        module_name, _, class_name = value["class"].partition(":")
        if not module_name.startswith("avalanche."):
            raise ValueError(f"a checkpoint may not name {module_name}")
        cls = getattr(importlib.import_module(module_name), class_name)
        if not isinstance(cls, type) or not cls.__module__.startswith("avalanche."):
            raise ValueError(f"a checkpoint may not name {value['class']}")
        # without __init__: its state is its attributes
        target = present if type(present) is cls else object.__new__(cls)
        for name, item in value["of"].items():
            setattr(target, name, self.decode(item, getattr(target, name, None)))
        return target
