"""A learner's statistics do not depend on how it came to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.learners import (
    assert_equal_states,
    keys_of,
    photo_folder,
    photo_learner,
    pictures,
    tiny_learner,
)

from cl_suite.errors import UserError
from cl_suite.learner import steps, store
from cl_suite.learner.learner import Learner
from cl_suite.learner.records import MOST_KEPT

MEANS = [
    ("simple_cil", {}),
    ("simple_cil", {"centre": True, "normalize_features": True}),
    ("prototype", {"normalize_features": True}),
    ("teen", {}),
    ("teen_whitened", {}),
]
POOLED = [("lda", {}), ("ranpac", {"num_projections": 48}), ("ranpac", {"num_projections": 0})]
EVERY = MEANS + POOLED


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), classes=4, number=6)


def learn(learner: Learner, plan: list[tuple[int, slice]]) -> Learner:
    for label, rows in plan:
        learner.learn(pictures(8, of=10 + label)[rows], f"new{label}")
    return learner


PLANS = [
    [(0, slice(0, 8)), (1, slice(0, 8)), (2, slice(0, 5))],
    [(2, slice(3, 5)), (1, slice(0, 1)), (0, slice(5, 8)), (1, slice(1, 8)), (0, slice(0, 5)),
     (2, slice(0, 3))],
    [(1, slice(None, None, -1)), (2, slice(0, 5)), (2, slice(1, 4)), (0, slice(0, 8))],
]  # fmt: skip


@pytest.mark.parametrize(("rule", "parameters"), EVERY)
def test_order_and_grouping_leave_no_trace(
    rule: str, parameters: dict[str, Any], photos: Path
) -> None:
    learners = [learn(photo_learner(photos, rule, **parameters), plan) for plan in PLANS]
    for other in learners[1:]:
        assert_equal_states(learners[0], other)
    if (rule, parameters) in MEANS:
        first, *others = [keys_of(learner) for learner in learners]
        for keys in others:
            for label, key in first.items():
                assert torch.equal(key, keys[label]), label


@pytest.mark.parametrize(("rule", "parameters"), EVERY)
def test_a_forgotten_class_was_never_there(
    rule: str, parameters: dict[str, Any], photos: Path
) -> None:
    plan = PLANS[0]
    never = learn(photo_learner(photos, rule, **parameters), [plan[0], plan[2]])
    forgot = learn(photo_learner(photos, rule, **parameters), plan)
    _ = forgot.calibration  # rows were there before
    forgot.forget("new1")
    assert_equal_states(never, forgot)
    features = never.look(pictures(5, of=10, seed=1))[0].features
    if (rule, parameters) in MEANS:
        for label, key in keys_of(never).items():
            assert torch.equal(key, keys_of(forgot)[label])
        assert never.calibration == forgot.calibration
        assert never.answers(features) == forgot.answers(features)
    else:
        assert never.state.pooled is not None
        assert forgot.state.pooled is not None
        torch.testing.assert_close(forgot.state.pooled, never.state.pooled, rtol=1e-11, atol=1e-11)
        for label, key in keys_of(never).items():
            torch.testing.assert_close(keys_of(forgot)[label], key, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rule", "parameters"), EVERY)
def test_a_forgotten_base_class_calibrates_no_more(
    rule: str, parameters: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    if rule in ("teen_whitened", "lda", "ranpac") or parameters.get("centre"):
        pytest.skip("its frame was fitted to all base classes, and stays")
    fewer = photo_folder(tmp_path / "fewer", classes=3, number=6)
    never = learn(photo_learner(fewer, rule, **parameters), PLANS[0])
    forgot = learn(photo_learner(photos, rule, **parameters), PLANS[0])
    _ = forgot.calibration
    forgot.forget("class3")
    assert_equal_states(never, forgot)
    for label, key in keys_of(never).items():
        assert torch.equal(key, keys_of(forgot)[label])


@pytest.mark.parametrize(("rule", "parameters"), EVERY)
def test_merging_equals_learning_both(rule: str, parameters: dict[str, Any], photos: Path) -> None:
    both = learn(photo_learner(photos, rule, **parameters), PLANS[0])
    one = learn(photo_learner(photos, rule, **parameters), [(0, slice(0, 6)), (1, slice(0, 8))])
    # it overlaps: two pictures of class 0 are known to both
    other = learn(photo_learner(photos, rule, **parameters), [(0, slice(4, 8)), (2, slice(0, 5))])
    assert one.merge(other) == ("new2",)
    assert_equal_states(one, both)


@pytest.mark.parametrize(("rule", "parameters"), EVERY)
def test_undo_restores_the_previous_bytes(
    rule: str, parameters: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    learner = learn(photo_learner(photos, rule, **parameters), PLANS[0][:2])
    learner.save(tmp_path / "a.clm")
    before = (tmp_path / "a.clm").read_bytes()
    learner.learn(pictures(3, of=30), "more")
    learner.forget("new0")
    learner.rename("more", "less")
    for _ in range(3):
        learner.undo()
    learner.save(tmp_path / "b.clm")
    assert (tmp_path / "b.clm").read_bytes() == before


def test_of_many_examples_the_same_are_kept_in_any_order() -> None:
    shown = pictures(MOST_KEPT + 20, of=1)
    one, other = tiny_learner(), tiny_learner()
    one.learn(shown, "a")
    for first in range(len(shown) - 7, -1, -9):
        other.learn(shown[first : first + 9], "a")
    other.learn(shown, "a")
    assert_equal_states(one, other)
    assert len(one.state.records["a"].kept) == MOST_KEPT
    assert one.counts == {"a": len(shown)}


def test_moments_replace_features_where_they_are_smaller() -> None:
    learner = tiny_learner("ranpac", num_projections=8)
    shown = pictures(50, of=1)
    learner.learn(shown[:30], "a")
    learner.learn(shown[30:], "a")
    whole = tiny_learner("ranpac", num_projections=8)
    whole.learn(shown, "a")
    record, twin = learner.state.records["a"], whole.state.records["a"]
    assert record.moment is not None
    assert twin.moment is not None
    torch.testing.assert_close(record.moment, twin.moment, rtol=1e-12, atol=1e-12)
    features = whole.look(shown)[0].features
    h = whole.rule.averaged(features)
    torch.testing.assert_close(twin.moment, h.T @ h, rtol=1e-12, atol=1e-12)
    assert record.moment.numel() * 8 < len(shown) * learner.rule.dim * 4


def test_a_picture_counts_once_for_a_class() -> None:
    learner = tiny_learner()
    shown = pictures(4, of=1)
    assert learner.learn([*shown, shown[0]], "a").added == 4
    again = learner.learn(shown[2:], "a")
    assert (again.added, again.known, again.total, again.is_new) == (0, 2, 4, False)
    with pytest.raises(Exception, match="no step to undo"):
        [learner.undo() for _ in range(2)]


@pytest.mark.parametrize("rule", ["simple_cil", "teen", "lda"])
def test_a_file_holds_all_of_it(rule: str, photos: Path, tmp_path: Path) -> None:
    learner = learn(photo_learner(photos, rule), PLANS[0])
    learner.save(tmp_path / "a.clm")
    again = Learner.load(tmp_path / "a.clm")
    assert again.labels == learner.labels
    assert again.history == learner.history
    assert_equal_states(learner, again)
    shown = pictures(6, of=11, seed=3)
    assert again.predict(shown) == learner.predict(shown)
    again.save(tmp_path / "b.clm")
    assert (tmp_path / "a.clm").read_bytes() == (tmp_path / "b.clm").read_bytes()
    assert not store.previous(tmp_path / "b.clm").exists()


@pytest.mark.parametrize(("rule", "many"), [("simple_cil", 40), ("lda", 80)])
def test_pictures_that_both_know_count_once_whoever_kept_them(rule: str, many: int) -> None:
    shots = pictures(many, of=1)
    whole = tiny_learner(rule)
    whole.learn(shots, "one")
    record = whole.state.records["one"]
    assert len(record.kept) < record.count
    few, several = tiny_learner(rule), tiny_learner(rule)
    few.learn([*shots[:20], *pictures(3, of=1, seed=9)], "one")
    several.learn(shots, "one")
    both = tiny_learner(rule)
    both.learn([*shots, *pictures(3, of=1, seed=9)], "one")
    for mine, other in ((few, several), (several, few)):
        merged = tiny_learner(rule)
        merged.merge(mine)
        merged.merge(other)
        one, twin = merged.state.records["one"], both.state.records["one"]
        assert one.ids == twin.ids
        assert torch.equal(one.total, twin.total)
        assert one.kept.ids == twin.kept.ids
        assert (one.moment is None) == (twin.moment is None)
        if one.moment is not None and twin.moment is not None:
            torch.testing.assert_close(one.moment, twin.moment)


def test_two_folders_of_one_label_are_refused() -> None:
    learner = tiny_learner()
    examples = [learner.look(pictures(2, of=of))[0] for of in (1, 2)]
    with pytest.raises(UserError, match="two class folders are called 'cat'"):
        steps.started(learner.rule, {"cat": examples[0], "cat ": examples[1]})


def test_another_rate_of_false_alarms_counts_at_once() -> None:
    learner = tiny_learner()
    for of in range(4):
        learner.learn(pictures(10, of=of), f"{of}")
    strict = learner.calibration.threshold
    learner.false_alarms = 0.5
    lax = learner.calibration.threshold
    assert strict is not None
    assert lax is not None
    assert lax > strict


def test_wrong_arguments_get_a_sentence() -> None:
    learner, none = tiny_learner(), pictures(1, of=0)
    learner.learn(none, "one")
    wrong: list[Any] = [
        lambda: learner.forget(3),  # type: ignore[arg-type]
        lambda: learner.predict(none, top="5"),  # type: ignore[arg-type]
        lambda: learner.predict(none, top=2.5),  # type: ignore[arg-type]
        lambda: learner.merge("a.clm"),  # type: ignore[arg-type]
        lambda: learner.learn(torch.zeros(3, 0, 0), "two"),
        lambda: Learner.new("no_backbone", rule="finetune"),
    ]
    for call in wrong:
        with pytest.raises(UserError):
            call()
    with pytest.raises(UserError, match="'finetune'"):  # before anything is downloaded
        Learner.new("tf_efficientnet_lite0", rule="finetune")
    with pytest.raises(UserError, match="is fitted to base classes"):
        Learner.new("tf_efficientnet_lite0", rule="teen_whitened")


def test_features_without_any_class_get_a_sentence() -> None:
    learner = tiny_learner()
    with pytest.raises(UserError, match="knows no class"):
        learner.answers(torch.zeros(1, learner.extractor.dim))
