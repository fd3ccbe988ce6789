"""Base class for strategies that wrap another strategy, their host, and add to it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from cl_suite import registry
from cl_suite.avalanche.loader import serves
from cl_suite.avalanche.plugin_state import attributes_of
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, suggestion
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.parameters import check_parameters, check_ranges
from cl_suite.plugin import Requirements, StrategyPlugin, Template, answers_of, requirements_of


@dataclass(kw_only=True, eq=False)
class WrappingPlugin(StrategyPlugin):
    """Forwards every callback to the host and presents the host's requirements to the engine.

    A subclass that overrides a callback must forward it, by `super()` if the base class defines it.
    The host may be an Avalanche plugin. If the host makes its own data loader, it is kept.
    Otherwise the loader provides everything that host and wrapper require.

    Args:
        host: name of a registered strategy, with the parameters of its YAML file; in Python also
            a plugin.
        host_params: parameters of the host that replace those of its YAML file.
    """

    host: Any
    host_params: dict[str, Any] | None = None
    host_: Any = field(default=None, init=False, repr=False)  # made at first use
    _has_own_loader = False  # whether the session's batches come from a loader that the host made

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # depends on the host
        """What the host requires; a wrapper that needs more uses `dataclasses.replace`."""
        return requirements_of(self.hosted)

    @property
    def hosted(self) -> Any:
        """The host.

        Raises:
            UserError: if no strategy has this name, or it cannot be a host; see `check_host`.
        """
        if self.host_ is None:
            host = make_host(self.host, self.host_params or {})
            self.check_host(host)
            self.host_ = host
        return self.host_

    @property
    def host_name(self) -> str:
        """The host's name for messages."""
        return self.host if isinstance(self.host, str) else type(self.host).__name__

    def check(self) -> None:
        super().check()
        _ = self.hosted  # refuse an unsuitable host at once

    def check_host(self, host: Any) -> None:
        """Raise `UserError` if the wrapper does not work with this host."""

    def __getattr__(self, name: str) -> Any:
        # callbacks missing in the base class: Avalanche checks whether they exist
        if name.startswith(("before_", "after_")):
            return getattr(self.hosted, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    # --- what the engine asks ---

    def kept_data(self) -> tuple[int, int]:
        return answers_of(self.hosted).kept_data()

    def session_note(self, session: int) -> str:
        return answers_of(self.hosted).session_note(session)

    def extra_epochs(self, session: int) -> int:
        return answers_of(self.hosted).extra_epochs(session)

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead | None:
        return answers_of(self.hosted).make_head(dim, num_classes, temperature)

    def prepare_model(self, model: nn.Module) -> None:
        answers_of(self.hosted).prepare_model(model)

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        answers_of(self.hosted).check_stream(info, session_sizes)

    def state_dict(self) -> dict[str, Any]:
        own = {name: value for name, value in super().state_dict().items() if name != "host_"}
        return {**own, "host": host_state(self.hosted)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own = dict(state)
        load_host_state(self.hosted, own.pop("host"))
        super().load_state_dict(own)

    # --- callbacks: first the base class's, then the host's ---

    def before_training(self, template: Template, **kwargs: Any) -> None:
        super().before_training(template, **kwargs)
        self._hand_on("before_training", template, **kwargs)

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        super().before_train_dataset_adaptation(template, **kwargs)
        self._hand_on("before_train_dataset_adaptation", template, **kwargs)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        before = template.dataloader
        self._hand_on("before_training_exp", template, **kwargs)
        asked = requirements_of(self.hosted).batch
        self._has_own_loader = template.dataloader is not before and not serves(
            template.dataloader, template.adapted_dataset, asked
        )
        if not self._has_own_loader:
            super().before_training_exp(template, **kwargs)

    def before_eval_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        super().before_eval_dataset_adaptation(template, **kwargs)
        self._hand_on("before_eval_dataset_adaptation", template, **kwargs)

    def _hand_on(self, callback: str, template: Template, **kwargs: Any) -> None:
        if (method := getattr(self.hosted, callback, None)) is not None:
            method(template, **kwargs)


def make_host(host: Any, parameters: Mapping[str, Any], word: str = "host") -> Any:
    """Return the plugin that `host` names, or `host` itself if it is a plugin.

    Args:
        word: the parameter that names it; messages call its parameters `<word>_params`.

    Raises:
        UserError: for an unknown name or parameter, one out of range, or a wrapper as the host.
    """
    if not isinstance(host, str):
        if parameters:
            raise UserError(
                f"{word}_params {dict(parameters)} need a {word} given by name; pass them to "
                f"{type(host).__name__} itself"
            )
        made = host
    else:
        if host not in (known := registry.entries("strategy")):
            raise UserError(f"{word} '{host}' is unknown{suggestion(host, known)}")
        entry = registry.get("strategy", host)
        made_of = entry.load()
        _check_parameters(host, made_of, parameters, word)
        made = None if issubclass(made_of, WrappingPlugin) else _construct(entry, parameters, word)
    if made is None or isinstance(made, WrappingPlugin):
        name = host if isinstance(host, str) else type(host).__name__
        raise UserError(
            f"{word} '{name}' is a wrapper itself; choose the strategy inside it, such as er_ace"
        )
    return made


def _check_parameters(name: str, cls: type, parameters: Mapping[str, Any], word: str) -> None:
    known = [p for p in inspect.signature(cls).parameters if p != "self"]
    for parameter in parameters:
        if parameter not in known:
            raise UserError(
                f"{word}_params.{parameter} of {word} '{name}' is unknown"
                f"{suggestion(parameter, known)}"
            )


def _construct(entry: registry.Entry, parameters: Mapping[str, Any], word: str) -> Any:
    given = {**(entry.settings.get("params") or {}), **parameters}
    check_parameters(entry.load(), given, f"{word}_params.")
    check_ranges(entry.load(), given, entry.settings.get("bounds", {}), f"{word}_params.")
    try:
        return entry.load()(**given)
    except TypeError as error:
        raise UserError(
            f"{word} '{entry.name}' cannot be created with {given} ({error})"
        ) from error


def host_state(host: Any) -> Any:
    """Return a plugin's state as the engine saves it; for Avalanche's plugins, their attributes.

    Functions among the attributes are left out: the constructor sets them.
    """
    return host.state_dict() if hasattr(host, "state_dict") else attributes_of(host)


def load_host_state(host: Any, state: Mapping[str, Any]) -> None:
    """Restore what `host_state` returned."""
    if hasattr(host, "load_state_dict"):
        host.load_state_dict(state)
        return
    vars(host).update(state)
