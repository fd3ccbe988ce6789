"""COCONUT: which networks see what, and the projections beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_coconut import Recording, make_engine, run, same, weights
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.models.features import feature_function
from cl_suite.randomness import seed_everything
from cl_suite.strategies.coconut import COCONUTPlugin, projections_of


def test_the_teacher_is_shown_rehearsal_samples_alone_in_one_pass_a_step() -> None:
    plugin = Recording(buffer=12)
    run(make_engine(plugin), 2)
    assert plugin.student_passes == [1] * len(plugin.labels)
    old = [int(torch.isin(y, torch.tensor([7, 2, 5, 0])).sum()) for y in plugin.labels]
    assert plugin.teacher_passes == [[n] if n else [] for n in old]
    assert 0 < sum(old) < sum(len(y) for y in plugin.labels)


@pytest.mark.parametrize("parameters", [{"denominator": "teacher_all"}, {"anchors": "all"}])
def test_the_teacher_is_shown_all_samples_where_its_negatives_or_anchors_are_all(
    parameters: dict[str, Any],
) -> None:
    plugin = Recording(buffer=12, **parameters)
    run(make_engine(plugin, batch_size=18), 2)
    assert plugin.teacher_passes == [[18], [18]]


def test_the_teacher_keeps_the_projections_and_weights_of_the_last_session() -> None:
    plugin = COCONUTPlugin(buffer=12)
    engine = run(make_engine(plugin), 1)
    before = weights(engine)
    engine.train_session(1)
    assert not engine.model.coconut.first.weight.equal(before["coconut.first.weight"])
    seen: list[dict[str, Tensor]] = []
    engine.on_epoch = lambda record: seen.append(
        {k: v.clone() for k, v in plugin.teacher(engine.template).state_dict().items()}
    )
    after = weights(engine)
    engine.train_session(2)
    assert same(seen[0], after)
    assert same(seen[1], after)
    teacher = plugin.teacher(engine.template)
    assert teacher is not None
    assert not any(part.training for part in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_projections_and_label_rows_learn_and_grow_with_the_classes() -> None:
    engine = make_engine(COCONUTPlugin(buffer=12, projection_dim=5))
    engine.train_session(0)
    before = weights(engine, "coconut.")
    assert before["coconut.first.weight"].shape == (5, 64)
    assert before["coconut.labels.weight"].shape == (4, 64)
    run(engine, 2, start=1)
    after = weights(engine, "coconut.")
    assert after["coconut.labels.class_ids"].tolist() == [0, 2, 5, 7, 1, 6]
    assert all(not after[n].equal(before[n]) for n in before if n.endswith("weight"))


def test_preparing_twice_changes_nothing() -> None:
    engine = make_engine(plugin := COCONUTPlugin(buffer=12))
    before = weights(engine)
    plugin.prepare_model(engine.model)
    assert same(before, weights(engine))


def test_a_foreign_networks_features_stay_what_its_classifier_sees() -> None:
    body, last = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU()), nn.Linear(16, 8)
    network = nn.Sequential(body, last)
    images = torch.rand(3, 1, 16, 16)
    before = feature_function(network)(images)
    wrapped = Wrapped(network)
    COCONUTPlugin().prepare_model(wrapped)
    assert projections_of(wrapped).first.weight.shape == (256, 16)
    assert feature_function(wrapped)(images).equal(before)


class Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


def test_a_foreign_networks_projections_are_in_the_optimiser_and_in_the_teacher() -> None:
    seed_everything(0)
    network = Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8)))
    plugin = COCONUTPlugin(buffer=12)
    template = api.SupervisedTemplate(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=1,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    sessions = benchmark(make_stream()).train_stream
    template.train(sessions[0])
    before = {n: p.clone() for n, p in network.coconut.named_parameters()}
    template.train(sessions[1])
    after = dict(network.coconut.named_parameters())
    assert all(not after[n].equal(before[n]) for n in ("first.weight", "second.weight"))
    assert not after["labels.weight"][:4].equal(before["labels.weight"])
    teacher = plugin.teacher(template)
    assert teacher is not None
    assert projections_of(teacher).first.weight.equal(after["first.weight"])
