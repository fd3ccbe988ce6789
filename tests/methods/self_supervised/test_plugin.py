"""Common parts of self-supervised strategies: passes, loss, projector, predictor, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.full_ssl_plugin import Everything
from helpers.tiny_ssl import Passes, Steps, make_engine, train, unequal, weights
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor

from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.errors import UserError
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.methods.self_supervised.projected import embed
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig


def test_each_view_passes_once_through_each_network_that_is_needed() -> None:
    engine = make_engine(Everything())
    passes = Passes(engine)
    train(engine)
    first, later = {"network": 2, "momentum": 2}, {"network": 2, "momentum": 2, "past": 2}
    assert passes.counts == [first] * 6 + [later] * 4


@pytest.mark.parametrize(
    ("copies", "later"),
    [("", {"network": 2}), ("past", {"network": 2, "past": 2})],
)
def test_without_a_copy_there_are_no_passes_for_it(copies: str, later: dict[str, int]) -> None:
    engine = make_engine(Everything(copies=copies))
    passes = Passes(engine)
    train(engine)
    assert passes.counts == [{"network": 2}] * 6 + [later] * 4


def test_the_loss_is_that_of_both_views_projections() -> None:
    plugin = Everything(copies="")
    engine = make_engine(plugin, base_epochs=1)
    projections: list[Tensor] = []
    inputs: list[list[Tensor]] = []
    losses: list[float] = []
    start = weights(engine)

    def note(template: Any) -> None:
        inputs.append([template.mb_x, template.mbatch[2]])
        losses.append(template.loss.item())

    Steps(engine, note, "after_training_iteration")
    engine.train_session(0)
    fresh = make_engine(Everything(copies=""))
    assert unequal(weights(fresh), start) == []
    fresh.model.train()
    projections = [embed(fresh.model, view) for view in inputs[0]]
    expected = nt_xent_loss(*projections, temperature=0.2)
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)
    assert not inputs[0][0].equal(inputs[0][1])
    assert inputs[0][0].shape == (16, 1, 16, 16)


def test_encoder_and_projector_learn_and_the_classifier_has_no_part() -> None:
    engine = make_engine(Everything(copies=""))
    before = weights(engine)
    train(engine, 1)
    moved = unequal(weights(engine), before)
    assert {"backbone.body.0.0.weight", "projector.0.weight", "projector.2.bias"} <= set(moved)
    assert engine.model.head.classes == []


def test_labels_are_never_seen() -> None:
    plugin = Everything()
    engine = make_engine(plugin)
    labels: set[int] = set()
    Steps(engine, lambda s: labels.update(s.mb_y.tolist()), "after_training_iteration")
    train(engine, 2)
    assert labels == {UNLABELLED}


def test_a_last_batch_of_one_sample_is_left_out() -> None:
    stream = make_stream([[0, 1], [2]], base_shots=9, shots=5)  # 18 and 5 samples
    sizes: list[int] = []
    engine = make_engine(Everything(), stream, base_epochs=1, incremental_epochs=1, batch_size=4)
    Steps(engine, lambda s: sizes.append(len(s.mb_x)), "after_training_iteration")
    train(engine, 2)
    assert sizes == [4, 4, 4, 4, 2, 4]


def test_a_session_of_one_sample_trains_nothing() -> None:
    stream = make_stream([[0, 1], [2]], shots=1)
    engine = make_engine(Everything(), stream)
    train(engine, 1)
    before = weights(engine)
    train(engine, 2, 1)
    assert unequal(weights(engine), before) == []


def test_preparing_twice_changes_nothing() -> None:
    plugin = Everything()
    engine = make_engine(plugin)
    before, projector = weights(engine), engine.model.projector
    random = torch.get_rng_state()
    plugin.prepare_model(engine.model)
    assert engine.model.projector is projector
    assert unequal(weights(engine), before) == []
    assert torch.get_rng_state().equal(random)


def test_a_predictor_leaves_the_random_numbers_to_come_alone() -> None:
    states = [
        train(make_engine(Everything(copies=copies)), 1).model.state_dict()
        for copies in ("", "past")
    ]
    assert unequal(states[1], states[0]) == []
    assert {name.split(".")[0] for name in states[1].keys() - states[0].keys()} == {"predictor"}


def test_a_predictor_is_not_trained_in_the_first_session() -> None:
    engine = make_engine(Everything())
    before = weights(engine)
    train(engine, 1)
    moved = unequal(weights(engine), before)
    assert not [name for name in moved if name.startswith("predictor")]
    train(engine, 2, 1)
    assert "predictor.0.weight" in unequal(weights(engine), before)


def test_a_frozen_backbone_is_refused() -> None:
    config = ModelConfig(frozen=True)
    with pytest.raises(UserError, match=r"model\.frozen freezes it; pass model\.frozen=False"):
        build_classifier(config, (1, 16, 16), 8, Everything())


def test_what_is_seen_of_a_batch_is_of_unit_length_but_for_predictions() -> None:
    plugin = Everything()
    train(make_engine(plugin), 2)
    last = plugin.seen[-1]
    assert last.keys is not None
    assert last.past is not None
    assert last.predicted is not None
    for pair in (last.z, last.keys, last.past):
        for rows in pair:
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))
    assert all(rows.requires_grad for rows in (*last.z, *last.predicted))
    assert not any(rows.requires_grad for rows in (*last.keys, *last.past))
    assert plugin.seen[0].past is None
    assert plugin.seen[0].predicted is None


def test_standard_views_are_refused_where_there_are_none_before_anything_is_trained() -> None:
    plugin = Everything()
    plugin.augmentation = "standard"
    info = make_stream().info
    plugin.check_stream(info, [48, 6, 6])
    flat = build_stream(
        name="features",
        class_names=["a"],
        session_classes=[[0]],
        train=[make_samples([0], 3, seed=0)],
        test=[make_samples([0], 3, seed=1)],
        train_transform=ToFloat(),
        eval_transform=Flat(),
    ).info
    with pytest.raises(UserError, match="square images"):
        plugin.check_stream(flat, [3])
    plugin.augmentation = "auto"
    plugin.check_stream(flat, [3])


class Flat:
    batched = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.float().flatten(-3)


def test_two_equal_views_are_warned_of() -> None:
    stream = make_stream()
    stream = stream.with_transforms(ToFloat(), ToFloat())
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        train(make_engine(Everything(copies=""), stream, base_epochs=1), 1)


def test_a_method_with_a_momentum_copy_cannot_begin_after_another_run() -> None:
    assert Everything().requirements.carries_base_state
    assert not Everything(copies="past").requirements.carries_base_state
