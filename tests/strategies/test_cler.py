"""CLER around hosts of every kind."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_cler import differences, engine_with, train
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.methods.host import make_host
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import BatchLayout, Requirements, requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.runs.config import resolve
from cl_suite.runs.early import check_pair
from cl_suite.storage import checkpoint
from cl_suite.strategies.cler import CLERPlugin

# a memory of its own, one within the batch, Avalanche's with and without a memory, and none
HOSTS: list[tuple[str, dict[str, Any]]] = [
    ("er_ace", {"buffer": 20}),
    ("der", {"buffer": 20}),
    ("finetune", {}),
    ("joint", {}),
    ("replay", {"mem_size": 12}),
    ("ewc", {}),
    ("lwf", {}),
    ("teen", {}),
]
every_host = pytest.mark.parametrize(("host", "params"), HOSTS, ids=[name for name, _ in HOSTS])


@every_host
def test_with_weight_0_a_run_is_the_hosts_to_the_last_bit(
    host: str, params: dict[str, Any]
) -> None:
    # an engine does not look at the stream: a run does, before it is made
    plugin = CLERPlugin(host=host, host_params=params, weight=0.0)
    random = torch.get_rng_state()
    plugin.check_stream(make_stream().info, [48, 6, 6])
    assert torch.get_rng_state().equal(random)
    alone = train(engine_with(make_host(host, params)))
    expected = {name: value.clone() for name, value in alone.model.state_dict().items()}
    random = torch.get_rng_state()
    wrapped = train(engine_with(plugin))
    assert differences(wrapped.model, expected) == []
    assert torch.get_rng_state().equal(random)
    assert wrapped.evaluate(2).equal(alone.evaluate(2))
    assert wrapped.kept_data() == alone.kept_data()
    weighted = train(engine_with(CLERPlugin(host=host, host_params=params, weight=1.0)))
    assert "backbone.body.0.0.weight" in differences(weighted.model, expected)


@pytest.mark.parametrize(("host", "params"), HOSTS[:6], ids=[name for name, _ in HOSTS[:6]])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    host: str, params: dict[str, Any], tmp_path: Path
) -> None:
    def make() -> Engine:
        return engine_with(CLERPlugin(host=host, host_params=params, pretext="rotation"))

    engine, saved = make(), []

    def save(next_session: int) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected = copy.deepcopy(engine.model.state_dict())
    for path, session in (saved[0], saved[4], saved[5]):  # within sessions and between them
        resumed = make()
        torch.rand(7)
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, session)
        assert differences(resumed.model, expected) == [], path.stem
        assert resumed.kept_data() == engine.kept_data()


class Listening:
    """A plugin with every callback, which notes that it was called; no plugin of the suite."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("before_", "after_")):
            raise AttributeError(name)
        return lambda template, **kwargs: self.calls.append(name)


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_every_callback_is_handed_on_once_and_in_order() -> None:
    def calls(plugin: Any, host: Listening) -> list[str]:
        seed_everything(0)
        stream = make_stream()
        model = build_classifier(ModelConfig(), (1, 16, 16), 8)
        model.head.grow(range(8))
        template = api.SupervisedTemplate(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=16,
            plugins=[plugin],
            evaluator=api.silent_evaluator(),
        )
        template.train(benchmark(stream).train_stream[0])
        template.eval(benchmark(stream).test_stream[:1])
        return host.calls

    first, second = Listening(), Listening()
    expected = calls(first, first)
    assert len(set(expected)) == 26
    assert calls(CLERPlugin(host=second), second) == expected


def test_it_is_to_the_engine_what_its_host_is() -> None:
    wrapped = CLERPlugin(host="teen")
    host = wrapped.hosted
    of_host = requirements_of(host)
    assert of_host.rewrites_rows
    assert dataclasses.replace(requirements_of(wrapped), batch=of_host.batch) == of_host
    around_memory = requirements_of(CLERPlugin(host="er_ace"))
    assert around_memory.carries_base_state
    assert around_memory.batch == BatchLayout(plain=True, rows=True)
    around_avalanches = requirements_of(CLERPlugin(host="replay"))
    assert around_avalanches == Requirements(batch=BatchLayout(plain=True))
    assert type(CLERPlugin(host="coact").make_head(8, 3, 16.0)).__name__ == "CosineHead"


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_it_wraps_avalanches_replay_in_a_bare_program() -> None:
    from avalanche.training.plugins import ReplayPlugin

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
            self.classifier = nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.body(x))

    seed_everything(0)
    stream, model = make_stream(), Network()
    plugin = CLERPlugin(host=ReplayPlugin(mem_size=10), pretext="rotation")
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    assert len(plugin.hosted.storage_policy.buffer) == 10
    start = {name: value.clone() for name, value in model.pretext.named_parameters()}  # type: ignore[union-attr, operator]
    template.train(benchmark(stream).train_stream[2])
    assert differences(model.pretext, start)  # type: ignore[arg-type]


def test_the_command_line_names_the_host_and_its_parameters() -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "cler")
    options = ["--strategy.host", "replay", "--strategy.host_params", "{mem_size: 5}"]
    [config], _ = resolve(*pair, [*options, "--device", "cpu"])
    check_pair(config)
    assert config.strategy.hosted.mem_size == 5
    assert "mem_size: 5" in config.text
