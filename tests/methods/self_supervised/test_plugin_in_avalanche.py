"""Self-supervised plugins in plain Avalanche programs, also on networks that are not ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.full_ssl_plugin import Everything
from helpers.tiny_ssl import unequal
from helpers.tiny_streams import make_stream
from torch import nn

from cl_suite.avalanche import api, benchmark
from cl_suite.methods.self_supervised.plugin import SelfSupervisedPlugin
from cl_suite.methods.self_supervised.projected import Wrapped
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything

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
