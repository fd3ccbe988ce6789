"""MAMLCon: meta-training after the base session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_mamlcon import SMALL, copied, engine_with, trained
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.errors import UserError
from cl_suite.methods.episodes.meta_learning import (
    UnitNetwork,
    adapt,
    present_cross_entropy,
    spare_units,
)
from cl_suite.methods.episodes.meta_training import MetaEpisodeLoader
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.mamlcon import MAMLConPlugin


def test_in_oml_the_outer_loss_still_trains_the_encoder() -> None:
    with_it, without = (
        trained(engine_with(inner="head", meta_epochs=epochs), 1) for epochs in (1, 0)
    )
    assert not with_it.model.backbone.body[0][0].weight.equal(
        without.model.backbone.body[0][0].weight
    )


@pytest.mark.parametrize("first_order", [True, False])
def test_meta_training_lowers_the_outer_loss(
    first_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = MetaEpisodeLoader.batch
    kept: list[list[Tensor]] = []

    def always_the_same(loader: MetaEpisodeLoader, episodes: Any) -> list[Tensor]:
        kept[:] = kept or [draw(loader, episodes)]
        return kept[0]

    # other episodes at each step would hide what so few steps reach
    monkeypatch.setattr(MetaEpisodeLoader, "batch", always_the_same)
    losses: list[float | None] = []
    engine = engine_with(
        base_weight=0.0,
        first_order=first_order,
        inner_lr=0.01,
        outer_lr=3e-3,
        meta_epochs=8,
        meta_steps=1,
    )
    engine.on_epoch = lambda record: losses.append(record.loss)
    trained(engine, 1)
    found = [loss for loss in losses[2:] if loss is not None]
    assert len(found) == 8
    assert found[-1] < 0.95 * found[0]


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("inner", ["all", "head"])
def test_the_outer_step_is_adams_on_the_mean_loss_of_the_episodes(
    first_order: bool, inner: str
) -> None:
    """Against the formula written out: no features kept, no episode on its own."""
    engine = engine_with(
        first_order=first_order, inner=inner, meta_steps=1, outer_lr=0.01, inner_lr=0.05,
        base_weight=0.5,
    )  # fmt: skip
    seen: dict[str, Any] = {}

    class Watch:
        def before_forward(self, template: Any, **kwargs: Any) -> None:
            if len(template.mbatch) == 6:
                seen["batch"] = [tensor.clone() for tensor in template.mbatch]
                seen["model"] = copied(engine)

        def before_update(self, template: Any, **kwargs: Any) -> None:
            if "batch" in seen:
                seen["slopes"] = {
                    name: parameter.grad.clone()
                    for name, parameter in engine.model.named_parameters()
                }

    engine.template.plugins.insert(0, Watch())
    trained(engine, 1)
    after = copied(engine)
    engine.model.load_state_dict(seen["model"])
    model, plan = engine.model.eval(), engine.plugin._plan
    network = UnitNetwork(model)
    query, classes, query_units, support, units, present = seen["batch"]
    loss = 0.5 * nn.functional.cross_entropy(model(query), classes)
    for i, own_query in enumerate(query.unflatten(0, query_units.shape)):
        tensors = network.tensors(spare_units(model))
        moved = network.unit_names if inner == "head" else None
        stages = plan.stages(support[i], units[i], present[i])
        phi = adapt(network, tensors, stages, lr=0.05, adapted=moved, first_order=first_order)
        loss = loss + present_cross_entropy(
            network(phi, own_query), query_units[i], present[i, -1]
        ) / len(support)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    for (name, parameter), slope in zip(model.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(seen["slopes"][name], slope, rtol=1e-3, atol=1e-6, msg=name)
        # Adam's first step: as long as its rate wherever there is a gradient
        large = slope.abs() > 1e-4
        step = (parameter.detach() - after[name])[large]
        torch.testing.assert_close(step, 0.01 * slope[large].sign(), rtol=1e-2, atol=1e-4)


def test_episodes_at_once_train_the_same() -> None:
    one, other = (copied(trained(engine_with(vectorized=at_once), 1)) for at_once in (True, False))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4, msg=name)


def test_first_and_second_order_differ() -> None:
    one, other = (
        trained(engine_with(first_order=order, inner_lr=0.05), 1) for order in (True, False)
    )
    assert not one.model.head.weight.equal(other.model.head.weight)


def test_a_paper_episode_has_drawn_classes_alone() -> None:
    engine = engine_with(first_stage="drawn", first_classes=2, initial_steps=4)
    trained(engine)
    plan = engine.plugin._plan
    assert plan.sizes == (2, 1, 1)
    assert (plan.initial_steps, plan.steps, plan.with_others) == (4, 2, False)
    assert engine.evaluate(2).sum() == 40


def test_meta_training_goes_on_bit_for_bit_after_a_stop(tmp_path: Path) -> None:
    engine, saved = engine_with(meta_epochs=2), []

    def save(record: Any) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append(path)

    engine.on_epoch = save
    expected = copied(trained(engine))
    assert len(saved) == 2 + 2
    for path in saved[1:]:
        resumed = engine_with(meta_epochs=2)
        resumed.load_state_dict(checkpoint.load(path))
        found = copied(trained(resumed))
        assert all(found[name].equal(expected[name]) for name in expected), path.stem


def test_meta_training_begins_from_another_runs_base_session() -> None:
    base = trained(engine_with(meta_epochs=0), 1)
    engine = engine_with()
    engine.context.start = base.artefact
    epochs: list[int] = []
    engine.on_epoch = lambda record: epochs.append(record.epoch)
    trained(engine, 1)
    assert epochs == [0]  # the extra one alone
    name = "backbone.body.0.1.running_mean"
    assert engine.model.state_dict()[name].equal(base.model.state_dict()[name])


def test_in_a_bare_template_the_first_sessions_last_epochs_are_meta_training() -> None:
    seed_everything(0)
    stream, plugin = make_stream(), MAMLConPlugin(**SMALL)
    model = build_classifier(ModelConfig(head="linear"), (1, 16, 16), 8)
    lengths: list[int] = []

    class Watch:
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            lengths.append(len(template.mbatch))

    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=3,
        plugins=[plugin, Watch()],
        evaluator=api.silent_evaluator(),
    )
    with api.quiet():
        for experience in benchmark(stream).train_stream:
            template.train(experience)
    assert lengths == [2] * 6 + [6] * 2
    assert plugin.classes_ == [0, 2, 5, 7, 1, 6, 3, 4]


def test_an_inner_loop_that_diverges_is_reported() -> None:
    engine = engine_with(inner_lr=1e6, steps=5)
    with pytest.raises(UserError, match="inner_lr"):
        trained(engine, 1)
