"""Common parts of self-supervised strategies: views, projector, copies, queues, state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from helpers.tiny_ssl import Passes, Steps, make_engine, plugin_tensors, train, unequal, weights
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.errors import UserError
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.methods.self_supervised.plugin import Embedded, SelfSupervisedPlugin
from cl_suite.methods.self_supervised.projected import Wrapped, embed
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything


class Everything(SelfSupervisedPlugin):
    """Has both copies, all queues and the predictor; parts can be left out."""

    predictor_dim = 16
    queue_size = 20
    first_momentum = 0.9
    last_momentum = 0.99

    def __init__(self, *, copies: str = "momentum past") -> None:
        super().__init__(projector_dim=16, projection_dim=8)
        self.copies = copies
        self.seen: list[Embedded] = []

    @property
    def has_momentum(self) -> bool:
        return "momentum" in self.copies

    @property
    def has_past(self) -> bool:
        return "past" in self.copies

    @property
    def queued(self) -> tuple[Literal["keys", "past"], ...]:
        return ("keys", "past") if self.copies == "momentum past" else super().queued

    def loss(self, embedded: Embedded) -> Tensor:
        self.seen.append(embedded)
        loss = super().loss(embedded)
        if embedded.past is not None and embedded.predicted is not None:
            for predicted, past in zip(embedded.predicted, embedded.past, strict=True):
                loss = loss + (predicted - past).square().sum()
        return loss


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


def test_the_past_copy_is_the_network_at_the_sessions_start_bit_for_bit_to_its_end() -> None:
    plugin = Everything()
    engine = make_engine(plugin, incremental_epochs=5)
    found: list[dict[str, Tensor]] = []

    def note(template: Any) -> None:
        assert plugin.past_ is not None
        found.append({k: v.clone() for k, v in plugin.past_.state_dict().items()})
        assert not any(part.training for part in plugin.past_.modules())
        assert all(p.grad is None and not p.requires_grad for p in plugin.past_.parameters())

    train(engine, 1)
    assert plugin.past_ is None
    start = weights(engine)
    Steps(engine, note, "after_update")
    train(engine, 2, 1)
    assert len(found) == 5
    assert all(unequal(state, start) == [] for state in found)
    assert "projector.0.weight" in unequal(weights(engine), start)
    assert plugin.past_ is None
    second = weights(engine)
    found.clear()
    train(engine, 3, 2)
    assert all(unequal(state, second) == [] for state in found)


def test_momentum_rises_by_half_a_cosine() -> None:
    plugin = Everything()
    assert plugin.momentum(0, 100) == pytest.approx(0.9)
    assert plugin.momentum(50, 100) == pytest.approx(0.945)
    assert plugin.momentum(100, 100) == pytest.approx(0.99)
    quarter = 0.99 - 0.09 * (1 + math.sqrt(0.5)) / 2
    assert plugin.momentum(25, 100) == pytest.approx(quarter)
    assert plugin.momentum(0, 0) == pytest.approx(0.9)


def test_the_momentum_copy_is_the_moving_average_worked_out_step_by_step() -> None:
    plugin = Everything()
    engine = make_engine(plugin)
    start = weights(engine)
    after: list[dict[str, Tensor]] = []
    Steps(engine, lambda s: after.append(weights(engine)), "after_training_iteration")
    for session, steps in ((0, 6), (1, 2)):  # 3 batches of 16, 1 of 6, 2 epochs
        after.clear()
        expected = {k: v.clone() for k, v in start.items()}
        engine.train_session(session)
        assert len(after) == steps
        for step, state in enumerate(after):
            kept = 0.99 - 0.09 * (1 + math.cos(math.pi * step / steps)) / 2
            for name, parameter in engine.model.named_parameters():
                assert parameter.shape == expected[name].shape
                expected[name] = kept * expected[name] + (1 - kept) * state[name]
        assert plugin.momentum_ is not None
        for name, parameter in plugin.momentum_.named_parameters():
            torch.testing.assert_close(parameter, expected[name], atol=1e-6, rtol=1e-5)
        start = {k: v.clone() for k, v in plugin.momentum_.state_dict().items()}
    assert unequal(weights(engine), start) != []


def test_the_momentum_copy_gets_no_gradient_and_has_the_networks_modes() -> None:
    plugin = Everything()
    engine = make_engine(plugin, incremental_batchnorm="eval")
    modes: list[bool] = []

    def note(template: Any) -> None:
        twin = plugin.momentum_
        assert twin is not None
        assert all(p.grad is None for p in twin.parameters())
        ours = [part.training for part in template.model.modules()]
        assert [part.training for part in twin.modules()] == ours
        modes.append(all(ours))

    Steps(engine, note, "after_update")
    train(engine, 2)
    assert modes == [True] * 6 + [False] * 2


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


def test_queues_hold_the_batches_before_and_forget_the_oldest() -> None:
    plugin = Everything()  # 20 keys a queue, batches of 16
    engine = make_engine(plugin)
    before: list[Tensor] = []
    Steps(engine, lambda s: before.append(plugin.queue("keys", 1)), "before_backward")
    train(engine, 1)
    assert [len(rows) for rows in before] == [0, 16, 20, 20, 20, 20]
    first = [embedded.keys[0] for embedded in plugin.seen if embedded.keys is not None]
    assert before[1].equal(first[0])
    # 48 keys later: the newest 20, written round and round
    newest = torch.cat(first)[-20:]
    assert plugin.queues_ is not None
    queue: Any = plugin.queues_["keys1"]
    assert queue.pointer.item() == 96 % 20
    assert queue.keys[(torch.arange(96 - 20, 96)) % 20].equal(newest)
    assert len(plugin.queue("past", 1)) == 0
    train(engine, 2, 1)
    assert len(plugin.queue("past", 1)) == 12
    pasts = [embedded.past[1] for embedded in plugin.seen if embedded.past is not None]
    assert plugin.queue("past", 2).equal(torch.cat(pasts))


def test_eight_keys_and_batches_of_four_leave_the_pointer_at_four() -> None:
    plugin = Everything()
    plugin.queue_size = 8
    stream = make_stream([[0], [1]], base_shots=12)
    train(make_engine(plugin, stream, base_epochs=1, batch_size=4), 1)
    assert plugin.queues_ is not None
    queue: Any = plugin.queues_["keys2"]
    assert queue.pointer.item() == 4
    third = plugin.seen[2].keys
    assert third is not None
    assert queue.keys[:4].equal(third[1])


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


quiet = pytest.mark.filterwarnings("ignore:No loggers specified")


class Foreign(nn.Sequential):
    """A network that would run through any layer that is added to it."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(256, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8)
        )


def bare_template(plugin: SelfSupervisedPlugin, model: nn.Module) -> Any:
    return api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )


def growing() -> nn.Module:
    return build_classifier(ModelConfig(), (1, 16, 16))  # its output has no columns yet


@quiet
@pytest.mark.parametrize("make", [Foreign, growing])
def test_it_trains_in_a_bare_template(make: Callable[[], nn.Module]) -> None:
    seed_everything(0)
    plugin, model = Everything(), make()
    template = bare_template(plugin, model)
    stream = benchmark(make_stream()).train_stream
    template.train(stream[0])
    trained = model if plugin.wrapped_ is None else plugin.wrapped_
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    template.train(stream[1])
    moved = set(unequal(dict(trained.state_dict()), before))
    assert {"projector.0.weight", "projector.2.weight", "predictor.3.weight"} <= moved
    assert any("projector" not in name and "predictor" not in name for name in moved)
    assert all(embedded.z[0].isfinite().all() for embedded in plugin.seen)
    assert plugin.sessions_ == 2


@quiet
def test_a_foreign_network_runs_as_before_and_its_classifier_is_left_alone() -> None:
    seed_everything(0)
    plugin, model = Everything(), Foreign()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    bare_template(plugin, model).train(benchmark(make_stream()).train_stream[0])
    assert isinstance(plugin.wrapped_, Wrapped)
    assert plugin.wrapped_.projector[0].in_features == 12  # type: ignore[index, union-attr, operator]
    assert len(model) == 5
    moved = unequal(dict(model.state_dict()), before)
    assert "1.weight" in moved
    assert "4.weight" not in moved


@quiet
def test_a_foreign_networks_momentum_copy_shares_nothing_with_it() -> None:
    plugin, model = Everything(), Foreign()
    bare_template(plugin, model).train(benchmark(make_stream()).train_stream[0])
    assert plugin.momentum_ is not None
    ours = {p.data_ptr() for p in model.parameters()}
    assert not ours & {p.data_ptr() for p in plugin.momentum_.parameters()}


def test_plugin_tensors_are_those_of_both_copies_and_all_queues() -> None:
    plugin = Everything()
    train(make_engine(plugin), 2)
    names = {name.split(".")[0] for name in plugin_tensors(plugin)}
    assert names == {"momentum", "queues"}
