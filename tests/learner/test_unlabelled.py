"""Unlabelled pictures move the classes' keys; nothing is learned from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.learners import assert_equal_states, photo_folder, photo_learner, pictures

from cl_suite.errors import UserError
from cl_suite.features.refine import refined


def test_the_keys_are_those_of_iterative_adaptation(tmp_path: Path) -> None:
    learner = photo_learner(photo_folder(tmp_path / "photos", classes=3, number=6))
    learner.learn(pictures(2, of=9), "new")
    examples, _ = learner.look(pictures(5, of=9, seed=3))
    keys = learner.moved_keys(examples)
    counts = torch.tensor([6.0, 6.0, 6.0, 2.0])
    queries = F.normalize(examples.features)
    scale = learner.calibration.scale
    expected = refined(learner._table.keys, queries, counts, "softmax", sharpness=scale)
    torch.testing.assert_close(keys, expected)
    assert not keys.equal(learner._table.keys)


def test_nothing_is_learned(tmp_path: Path) -> None:
    root = photo_folder(tmp_path / "photos", classes=3, number=4)
    learner, twin = photo_learner(root), photo_learner(root)
    examples, _ = learner.look(pictures(5, of=1, seed=3))
    keys = learner.moved_keys(examples)
    shown = pictures(2, of=1, seed=8)
    moved = learner.predict(shown, keys=keys)
    assert_equal_states(learner, twin)
    assert learner.predict(shown) == twin.predict(shown) != moved


def test_a_rule_that_does_not_compare_by_cosine_is_refused(tmp_path: Path) -> None:
    learner = photo_learner(photo_folder(tmp_path / "photos", classes=3, number=4), "lda")
    examples, _ = learner.look(pictures(2, of=1))
    with pytest.raises(UserError, match="rule 'lda' has none"):
        learner.moved_keys(examples)
