"""For every strategy: judging the base session's training changes no bit of the run."""

from __future__ import annotations

import pytest
from helpers.tiny_models import subject_named

from cl_suite import registry
from cl_suite.engine.watched_base import WatchedBase
from cl_suite.randomness import random_state
from cl_suite.testing.subject import train, weights


@pytest.mark.parametrize("name", sorted(registry.entries("strategy")))
def test_a_watched_run_is_the_same_to_the_bit(name: str) -> None:
    found, subject = [], subject_named(name)
    subject.engine()  # the first one may draw random numbers for a network in a file
    for watches in (False, True):
        engine = subject.engine()
        engine.model.backbone.weights = "published"
        if watches:
            engine.base = WatchedBase(engine.context, engine.stream, engine.closing.lap)
        train(engine)
        found.append((weights(engine), random_state()["torch"]))
    learns = engine.num_epochs(0) > 0 and engine.model.num_parameters()[0] > 0
    assert (engine.base_training is not None) >= learns
    for key, tensor in found[0][0].items():
        assert tensor.equal(found[1][0][key]), key
    assert found[0][1].equal(found[1][1])
