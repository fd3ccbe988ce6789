"""The options of head rules keep every promise of a strategy."""

from __future__ import annotations

from typing import Any

import pytest

from cl_suite.strategies import CachePlugin, LDAPlugin, SimpleCILPlugin, TEENWhitenedPlugin
from cl_suite.testing.contract import check_strategy

ROBUST = {"outliers": "distance", "outlier_least": 3, "outlier_share": 0.3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        (SimpleCILPlugin, {**ROBUST, "class_margin": True}),
        (TEENWhitenedPlugin, {"outliers": "lof", "outlier_least": 3, "class_margin": True}),
        (LDAPlugin, ROBUST),
        (CachePlugin, {"views": 1, "base_keys": 2}),
    ],
)
def test_a_rule_with_options_keeps_the_contract(strategy: type, parameters: dict[str, Any]) -> None:
    check_strategy(strategy, **parameters)
