"""Base class for strategies that train a network and leave the rows to another strategy's rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.methods.host import make_host
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.plugin import Template


@dataclass(kw_only=True, eq=False)
class HeadRulePlugin(HeadPlugin):
    """Train in the base session as a subclass says; a head rule writes the rows of every session.

    Args:
        head_rule: strategy that makes the rows from features, with the parameters of its YAML file:
            simple_cil (class means), teen, teen_whitened, lda, klda, ranpac, c_ranpac or knn; in
            Python also a plugin.
        head_rule_params: parameters of that strategy that differ from its YAML file.
    """

    head_rule: Any = "simple_cil"
    head_rule_params: dict[str, Any] | None = None
    rule_: HeadPlugin | None = field(default=None, init=False, repr=False)

    trains_network = True

    @property
    def rule(self) -> HeadPlugin:
        """The strategy that makes the rows.

        Raises:
            UserError: if `head_rule` names none, or one that trains the network itself.
        """
        if self.rule_ is None:
            rule = make_host(self.head_rule, self.head_rule_params or {}, "head_rule")
            if not isinstance(rule, HeadPlugin) or rule.trains_network:
                raise UserError(
                    f"head_rule must be a strategy that makes its rows from features alone, got "
                    f"'{self.rule_name}'; choose simple_cil, teen, teen_whitened, lda, klda, "
                    "ranpac, c_ranpac or knn"
                )
            self.rule_ = rule
        return self.rule_

    @property
    def rule_name(self) -> str:
        """The rule's name for messages."""
        return self.head_rule if isinstance(self.head_rule, str) else type(self.head_rule).__name__

    @property
    def rule_parameters(self) -> dict[str, Any]:
        """All parameters of the rule, those of its YAML file and its defaults included."""
        return {f.name: getattr(self.rule, f.name) for f in fields(self.rule) if f.init}

    def check(self) -> None:
        super().check()
        _ = self.rule  # refuse an unsuitable one at once

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        own = self.rule.make_head(dim, num_classes, temperature)
        return own or CosineHead(dim, num_classes, temperature)

    def kept_data(self) -> tuple[int, int]:
        return self.rule.kept_data()

    def session_note(self, session: int) -> str:
        return self.rule.session_note(session)

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        self.rule.check_stream(info, session_sizes)

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        classes = self.rule.learn(template, head)
        if not self.rule.base_classes_:
            self.rule.base_classes_ = classes
        return classes
