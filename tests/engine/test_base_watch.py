"""Training that makes a network worse is seen, costs what it says, and changes nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.base_watch import LAST_EPOCHS, MOST, BaseTraining, BaseWatch, judged_rows
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import random_state, seed_everything
from cl_suite.strategies.finetune import FinetunePlugin
from cl_suite.strategies.prototype import PrototypePlugin

LABELS = torch.arange(40) % 4


def separated() -> Tensor:
    """Features by which class means recognise every sample."""
    noise = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    return 3 * torch.eye(6)[LABELS] + 0.1 * noise


def shuffled() -> Tensor:
    """The same features, of other samples."""
    return separated()[torch.randperm(40, generator=torch.Generator().manual_seed(1))]


def judged(
    before: Tensor | None, after: Tensor, *losses: float | None, num_classes: int = 4
) -> BaseTraining | None:
    watch = BaseWatch(num_classes)
    if before is not None:
        watch.begins(before, LABELS)
    for loss in losses:
        watch.epoch(loss)
    watch.ends(lambda: (after, LABELS))
    return watch.record


# --- the verdict ---


def test_features_that_stay_are_fine() -> None:
    found = judged(separated(), 2 * separated())
    assert found is not None
    assert (found.verdict, found.before, found.after, found.images) == ("fine", 1.0, 1.0, 40)
    assert (found.classes, found.lost, found.gained, found.chance) == (4, 0, 0, 1.0)


def test_features_that_forget_the_classes_are_worse() -> None:
    found = judged(separated(), shuffled())
    assert found is not None
    assert found.verdict == "worse"
    assert found.before == 1.0
    assert found.after == pytest.approx(1 - found.lost / 40)
    assert found.after < 0.5
    assert found.chance == pytest.approx(0.5**found.lost)


def test_features_that_learn_the_classes_are_fine() -> None:
    found = judged(shuffled(), separated())
    assert found is not None
    assert (found.verdict, found.lost) == ("fine", 0)
    assert found.gained > 20


def test_a_loss_that_chance_explains_is_fine() -> None:
    after = separated()
    after[:4] = after[[1, 2, 3, 0]]  # each of these is now another class's
    found = judged(separated(), after)
    assert found is not None
    assert (found.verdict, found.lost, found.gained) == ("fine", 4, 0)


def test_features_that_become_equal_have_collapsed() -> None:
    found = judged(separated(), torch.ones(40, 6) + 1e-4 * shuffled())
    assert found is not None
    assert found.verdict == "collapsed"
    assert found.cosine_after == pytest.approx(1, abs=1e-6)


def test_features_that_were_nearly_equal_before_have_not_collapsed() -> None:
    # as those of a network that ends in a rectifier
    found = judged(separated() + 50, 2 * separated() + 100)
    assert found is not None
    assert found.cosine_before is not None
    assert found.cosine_before > 0.99
    assert found.verdict == "fine"


def test_a_loss_of_equal_features_is_looked_at_in_any_network() -> None:
    flat = [1.2 * math.log(4), *[math.log(4)] * LAST_EPOCHS]
    found = judged(None, shuffled(), *flat)
    assert found is not None
    assert (found.verdict, found.before) == ("collapsed", None)
    # a head that does not learn does not mean that the features collapsed
    found = judged(None, separated(), *flat)
    assert found is not None
    assert found.verdict == "fine"


@pytest.mark.parametrize(
    ("losses", "num_classes"),
    [
        ([math.log(4)] * (LAST_EPOCHS - 1), 4),
        ([math.log(4)] * LAST_EPOCHS + [0.8 * math.log(4)], 4),
        ([0.0] * LAST_EPOCHS, 1),
        ([None] * LAST_EPOCHS, 4),
        ([], 4),
    ],
)
def test_other_losses_of_a_network_that_had_learned_nothing_cost_no_pass(
    losses: list[float | None], num_classes: int
) -> None:
    watch = BaseWatch(num_classes)
    for loss in losses:
        watch.epoch(loss)
    watch.ends(lambda: pytest.fail("features are computed"))
    assert watch.record is None


@pytest.mark.parametrize("losses", [[1.0, math.nan], [math.inf]])
def test_a_loss_that_is_not_finite_has_diverged(losses: list[float]) -> None:
    for before in (None, separated()):
        found = judged(before, separated(), *losses)
        assert found is not None
        assert (found.verdict, found.after) == ("diverged", None)


def test_features_that_are_not_finite_have_diverged() -> None:
    found = judged(separated(), separated() * math.nan, 1.0)
    assert found is not None
    assert (found.verdict, found.before, found.after) == ("diverged", 1.0, None)


def test_a_record_survives_its_file_and_nothing_else_is_taken() -> None:
    found = judged(separated(), shuffled(), 1.0)
    assert found is not None
    assert BaseTraining.from_state_dict(found.state_dict()) == found
    for other in (None, "worse", {}, {"verdict": "bad"}, {"verdict": "worse", "before": "1"}):
        assert BaseTraining.from_state_dict(other) is None
    assert BaseTraining.from_state_dict({"verdict": "worse", "later": 1}) is None


def test_a_stopped_watch_goes_on() -> None:
    watch, later = BaseWatch(4), BaseWatch(4)
    watch.begins(separated(), LABELS)
    watch.epoch(2.0)
    later.load_state_dict(watch.state_dict())
    for each in (watch, later):
        each.epoch(1.0)
        each.ends(lambda: (shuffled(), LABELS))
    assert later.record == watch.record
    assert later.state_dict()["losses"] == [2.0, 1.0]


# --- which images ---


def test_all_images_of_a_small_session_are_judged() -> None:
    targets = [0, 1, 2, 0, 1, 2, 0, 1, 5, -1]
    # a class of one sample has no mean without it, and -1 stands for no label
    assert judged_rows(targets, epochs=1) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert judged_rows([0, 0, 0], epochs=1) == []
    assert judged_rows([0, 1], epochs=1) == []


@pytest.mark.parametrize(("epochs", "expected"), [(1, 200), (2, 400), (50, MOST)])
def test_a_tenth_of_the_images_that_training_passes_are_judged(epochs: int, expected: int) -> None:
    targets = [c for c in range(20) for _ in range(100)]
    rows = judged_rows(targets, epochs)
    assert len(rows) == expected
    assert set(np.bincount([targets[row] for row in rows])) == {expected // 20}
    assert rows == judged_rows(targets, epochs)


def test_of_many_classes_some_are_judged_well() -> None:
    targets = [c for c in range(500) for _ in range(10)]
    counts = np.bincount([targets[row] for row in judged_rows(targets, epochs=100)])
    assert sum(counts) == MOST
    assert set(counts) == {0, 5}


# --- around the engine's base session ---


class Counting(Classifier):
    """Counts the images that go through its backbone outside of training."""

    images = 0

    def features(self, x: Tensor) -> Tensor:
        self.images += 0 if self.training else len(x)
        return super().features(x)


def make(plugin: StrategyPlugin, *, watches: bool = True, **recipe: Any) -> tuple[Engine, Counting]:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    model.backbone.weights = "published"
    counting = Counting(model.backbone, model.head)
    training = TrainingConfig(**{"batch_size": 16, "base_epochs": 2, **recipe})
    return Engine(stream, counting, plugin, training, watches=watches), counting


def spoil(model: Classifier) -> Callable[..., None]:
    """Return a callback by which training ends with a network that tells no images apart."""

    @torch.no_grad()
    def after_training_epoch(template: Any, **kwargs: Any) -> None:
        for parameter in model.backbone.parameters():
            parameter.zero_()

    return after_training_epoch


def test_the_watch_passes_the_judged_images_twice() -> None:
    for watches, images in ((True, 48 + 48), (False, 0)):
        engine, model = make(FinetunePlugin(), watches=watches)
        engine.train_session(0)
        assert model.images == images


def test_features_that_the_strategy_has_computed_are_taken() -> None:
    for watches, images in ((True, 48 + 48), (False, 48)):
        engine, model = make(PrototypePlugin(), watches=watches)
        engine.train_session(0)
        assert model.images == images


def test_a_watched_session_is_the_same_to_the_bit() -> None:
    found = []
    for watches in (True, False):
        engine, model = make(FinetunePlugin(), watches=watches, incremental_epochs=1)
        for session in range(2):
            engine.train_session(session)
        found.append((model.state_dict(), random_state()["torch"], engine.evaluate(1)))
        assert (engine.base_training is not None) == watches
    for name, tensor in found[0][0].items():
        assert tensor.equal(found[1][0][name]), name
    assert found[0][1].equal(found[1][1])
    assert found[0][2].equal(found[1][2])


@pytest.mark.parametrize(
    ("weights", "recipe", "frozen"),
    [(None, {}, False), ("published", {"base_epochs": 0}, False), ("published", {}, True)],
)
def test_what_learned_nothing_before_or_learns_nothing_now_is_not_judged(
    weights: str | None, recipe: dict[str, Any], frozen: bool
) -> None:
    engine, model = make(FinetunePlugin(), **recipe)
    model.backbone.weights = weights
    if frozen:
        model.backbone.requires_grad_(False)
    engine.train_session(0)
    assert model.images == 0
    assert engine.base_training is None


def test_a_spoilt_network_is_seen_and_a_healthy_one_is_not() -> None:
    plugin = FinetunePlugin()
    engine, model = make(plugin, lr=0.01)
    engine.train_session(0)
    assert engine.base_training is not None
    assert engine.base_training.verdict == "fine"
    plugin = FinetunePlugin()
    engine, model = make(plugin)
    plugin.after_training_epoch = spoil(model)  # type: ignore[attr-defined]  # a callback of the template
    engine.train_session(0)
    found = engine.base_training
    assert found is not None
    assert (found.verdict, found.after, found.images, found.classes) == ("collapsed", 0.0, 48, 4)
    assert engine.artefact is not None
    assert engine.artefact.training == found


def test_a_base_session_from_another_run_brings_its_verdict() -> None:
    plugin = FinetunePlugin()
    first, model = make(plugin)
    plugin.after_training_epoch = spoil(model)  # type: ignore[attr-defined]  # a callback of the template
    first.train_session(0)
    engine, model = make(FinetunePlugin())
    started = Engine(
        engine.stream, model, engine.plugin, engine.training, start=first.artefact, watches=True
    )
    assert started.base_training == first.base_training
    started.train_session(0)
    assert model.images == 0
    assert started.base_training == first.base_training
    assert started.artefact is not None
    assert started.artefact.training == first.base_training


def test_a_session_that_was_stopped_ends_with_the_same_verdict() -> None:
    whole, _ = make(FinetunePlugin(), base_epochs=3)
    kept: list[Any] = []
    whole.on_epoch = lambda record: kept.append(copy.deepcopy(whole.state_dict()))
    whole.train_session(0)
    later, model = make(FinetunePlugin(), base_epochs=3)
    later.load_state_dict(kept[0])
    later.train_session(0)
    assert model.images == 48  # the network before training is gone
    for name in ("verdict", "before", "after", "lost", "gained", "cosine_before", "cosine_after"):
        assert getattr(later.base_training, name) == getattr(whole.base_training, name), name


def test_a_checkpoint_without_a_watch_is_resumed_without_a_verdict() -> None:
    whole, _ = make(FinetunePlugin(), base_epochs=3)
    kept: list[Any] = []
    whole.on_epoch = lambda record: kept.append(copy.deepcopy(whole.state_dict()))
    whole.train_session(0)
    del kept[0]["watch"]  # of version 0.3
    later, model = make(FinetunePlugin(), base_epochs=3)
    later.load_state_dict(kept[0])
    later.train_session(0)
    assert later.base_training is None
    assert model.images == 0


def test_judging_is_no_part_of_the_time_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = make(FinetunePlugin())
    now = 0.0

    def measure(*ignored: object) -> tuple[Tensor, Tensor]:
        nonlocal now
        now += 1000.0
        return separated(), LABELS

    assert engine.base is not None
    monkeypatch.setattr(engine.base, "_features", measure)
    monkeypatch.setattr("cl_suite.engine.plugins.time.perf_counter", lambda: now)
    engine.train_session(0)
    assert engine.state.seconds == 0
    assert engine.base_training is not None
    assert engine.base_training.seconds == 2000
