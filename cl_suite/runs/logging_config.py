"""Which loggers watch a run, and their options; no result depends on them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cl_suite import registry
from cl_suite.errors import UserError, option, suggestion
from cl_suite.parameters import Parameters, check_given


@dataclass(frozen=True)
class LoggingConfig(Parameters):
    """Settings of logging. The console is always told; a run may resume with other loggers.

    Args:
        loggers: tensorboard (the dashboard), csv (tables in the run's folder), wandb, mlflow, or a
            name that another package has registered; an empty list for none.
        options: options of a logger, by its name, such as wandb.project.
    """

    _option_prefix = "logging."

    loggers: list[str] = field(default_factory=lambda: list(registry.USUAL_LOGGERS))
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `UserError` for an unknown logger, or for options that it does not have."""
        named = option("logging.loggers")
        if len(set(self.loggers)) != len(self.loggers):
            raise UserError(f"{named} lists one twice: {self.loggers}; name each once")
        for name, given in self.options.items():
            if name not in self.loggers:
                raise UserError(
                    f"{option('logging.options')} has options of '{name}', which is not one of "
                    f"{named} ({', '.join(self.loggers) or 'none'}); name it there too"
                )
            if not isinstance(given, Mapping):
                raise UserError(
                    f"{option(f'logging.options.{name}')} must be a mapping of options, got "
                    f"{given!r}"
                )
        for name in self.loggers:
            self._check_one(name, self.options.get(name, {}))

    def _check_one(self, name: str, given: Mapping[str, Any]) -> None:
        if name in registry.USUAL_LOGGERS and not given:
            return  # a name that is known; its import is slow
        made_of = registry.logger_class(name)
        prefix = f"{option(f'logging.options.{name}')}."
        known = set(inspect.signature(made_of).parameters)
        for key in given:
            if key not in known:
                raise UserError(f"{prefix}{key} is unknown{suggestion(str(key), known)}")
        # it is made, so one whose package is missing is refused here
        check_given(made_of, given, prefix)
