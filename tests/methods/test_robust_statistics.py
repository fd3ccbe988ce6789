"""Head rules on class statistics without outliers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.feature_streams import (
    NUM_BASE,
    features_of,
    make_engine,
    make_feature_stream,
    trained,
)

from cl_suite import registry
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.features.outliers import kept_rows
from cl_suite.features.stats import class_stats
from cl_suite.learner.rule import rule_plugin

RULES = (
    "prototype",
    "simple_cil",
    "teen",
    "teen_whitened",
    "lda",
    "klda",
    "ranpac",
    "c_ranpac",
)


def plugin_of(name: str, **parameters: Any) -> Any:
    small = {"num_features": 64} if name == "klda" else {}
    small |= {"num_projections": 64} if name.endswith("ranpac") else {}
    return registry.get("strategy", name).load()(**small, **parameters)


def mislabelled_stream() -> Stream:
    """Return a stream in which a fifth of each base class's labels is another class's."""
    stream = make_feature_stream(base_images=50)
    features, labels = features_of(stream, 0)
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(len(labels), generator=generator) < 0.2
    step = torch.randint(1, NUM_BASE, labels.shape, generator=generator)
    noisy = torch.where(wrong, (labels + step) % NUM_BASE, labels)
    base = TensorSamples(features.float(), noisy.tolist())
    return Stream(stream.info, (base, *stream.train[1:]), stream.test)


@pytest.mark.parametrize("name", RULES)
def test_what_is_learned_is_what_the_other_samples_alone_give(name: str) -> None:
    stream = mislabelled_stream()
    plugin = plugin_of(name, outliers="distance", outlier_share=0.2)
    found = trained(plugin, stream).model.head
    features, labels = features_of(stream, 0)
    kept = kept_rows(features.float(), labels, "distance", share=0.2)
    assert 0.7 < float(kept.float().mean()) < 0.9
    thinned = TensorSamples(features.float()[kept], labels[kept].tolist())
    left = Stream(stream.info, (thinned, *stream.train[1:]), stream.test)
    alone = trained(plugin_of(name), left).model.head
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], value, msg=key)


def test_the_user_is_told_how_many_were_left_out() -> None:
    plugin = plugin_of("lda", outliers="distance")
    trained(plugin, mislabelled_stream(), num_sessions=1)
    assert plugin.session_note(0).endswith("; left out 64 of 600 training samples as outliers")
    trained(plugin, make_feature_stream(), num_sessions=2)
    assert plugin.session_note(1) == "", "five shots are too few to leave any out"


@pytest.mark.parametrize("name", RULES)
def test_it_resumes_between_sessions_as_if_it_had_never_stopped(name: str) -> None:
    stream = mislabelled_stream()
    through = trained(plugin_of(name, outliers="lof"), stream)
    first = trained(plugin_of(name, outliers="lof"), stream, num_sessions=2)
    second = make_engine(plugin_of(name, outliers="lof"), stream)
    second.load_state_dict(first.state_dict())
    for session in (2, 3):
        second.train_session(session)
    queries = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    assert second.model.head(queries).equal(through.model.head(queries))


@pytest.mark.parametrize("name", RULES)
def test_without_the_option_nothing_is_looked_at(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("no outliers were asked for")

    monkeypatch.setattr("cl_suite.methods.robust_statistics.kept_rows", refused)
    trained(plugin_of(name), make_feature_stream(), num_sessions=2)


def test_class_means_without_the_option_are_the_plain_ones_to_the_bit() -> None:
    stream = make_feature_stream()
    head = trained(plugin_of("prototype"), stream, num_sessions=1).model.head
    mean = class_stats(*features_of(stream, 0)).mean
    assert head.rows(range(NUM_BASE)).equal(mean.float())


@pytest.mark.parametrize("name", ["prototype", "simple_cil", "teen", "teen_whitened", "lda"])
def test_a_learner_which_has_sums_alone_does_not_take_the_rule(name: str) -> None:
    assert rule_plugin(name, {}) is not None
    assert rule_plugin(name, {"outliers": "distance"}) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"outliers": "no"}, "outliers"), ({"outlier_share": 0.6}, "outlier_share")],
)
def test_a_bad_value_is_refused_by_name(parameters: dict[str, Any], message: str) -> None:
    make: Callable[..., Any] = plugin_of
    with pytest.raises(UserError, match=message):
        make("lda", **parameters)
