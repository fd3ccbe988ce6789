"""A right method, and the message of a check that a faulty one fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest

from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import Requirements, Template, Within, session_stats
from cl_suite.testing import CHECKS
from cl_suite.testing.contract import run_check, subject_of


@dataclass(kw_only=True, eq=False)
class MeanPlugin(HeadPlugin):
    """Class means as prototypes.

    Args:
        scale: factor on the prototypes.
    """

    scale: Annotated[float, Within(0)] = 1.0

    requirements = Requirements(head="cosine", kinds=("class",))
    default_config: ClassVar[dict[str, Any]] = {"training": {"incremental_epochs": 0}}

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        stats = session_stats(template)
        head.set_rows(stats.classes, self.scale * stats.mean)
        return stats.classes


def fault_of(strategy: type, name: str, **parameters: Any) -> str:
    """Run the check of this name, which must fail; return its message."""
    (check,) = [check for check in CHECKS if check.__name__ == name]
    with pytest.raises(AssertionError, match=f"^{strategy.__name__} fails {name}: ") as caught:
        run_check(check, subject_of(strategy, **parameters))
    return str(caught.value)
