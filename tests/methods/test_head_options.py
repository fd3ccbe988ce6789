"""The options of head rules keep every promise of a strategy."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from helpers.feature_streams import make_feature_stream, trained

from cl_suite.learner.trained import rule_of
from cl_suite.strategies import (
    CachePlugin,
    LDAPlugin,
    SimpleCILPlugin,
    TEENPlugin,
    TEENWhitenedPlugin,
)
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


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("teen", TEENPlugin(outliers="distance")),
        ("simple_cil", SimpleCILPlugin(class_margin=True)),
        ("lda", LDAPlugin(shot_midpoint=10.0)),
        ("lda", LDAPlugin(covariance="diagonal")),
    ],
)
def test_a_classifier_file_says_why_it_falls_back_to_class_means(name: str, plugin: Any) -> None:
    engine = trained(plugin, make_feature_stream())
    given = {f.name: getattr(plugin, f.name) for f in fields(plugin) if f.init}
    rule, note = rule_of({"name": name, "parameters": given}, plugin, engine.model)
    assert rule.name == "simple_cil"
    assert note.startswith(f"strategy '{name}' needs more, with these settings, than the sums")
