"""What every registered strategy must do. A method added later inherits all of this."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import pytest
from helpers.numeric_parameters import as_options, bad_values, numbers_of
from helpers.tiny_models import subject_named
from helpers.tiny_runs import refused
from helpers.tiny_streams import make_samples, make_stream

from cl_suite import registry
from cl_suite.avalanche import benchmark
from cl_suite.errors import UserError
from cl_suite.parameters import meanings_of
from cl_suite.plugin import StrategyPlugin
from cl_suite.runs import config
from cl_suite.runs.config import build_parser, resolve
from cl_suite.testing.checks.parameters import PARAMETER_CHECKS
from cl_suite.testing.checks.reach import Spy
from cl_suite.testing.checks.state import (
    going_on_equals_never_having_stopped,
    learned_state_ends_in_an_underscore,
)
from cl_suite.testing.contract import CHECKS, Check, run_check
from cl_suite.testing.subject import Subject, train

STRATEGIES = sorted(registry.entries("strategy"))
OURS = [n for n in STRATEGIES if "avalanche" not in registry.get("strategy", n).class_path]
every_strategy = pytest.mark.parametrize("name", STRATEGIES)
CASES = [
    pytest.param(check, name, id=f"{check.__name__}-{name}")
    for check in CHECKS
    for name in STRATEGIES
    # how Avalanche's own plugins are written is not ours to judge
    if check not in (*PARAMETER_CHECKS, learned_state_ends_in_an_underscore) or name in OURS
]


@pytest.mark.parametrize(("check", "name"), CASES)
def test_it_keeps_the_contract(check: Check, name: str) -> None:
    reason = run_check(check, subject_named(name))
    if reason is not None:
        pytest.skip(reason)


@every_strategy
def test_every_number_among_its_parameters_has_a_range(name: str) -> None:
    numbers = numbers_of(registry.get("strategy", name))
    assert [parameter for parameter, number in numbers.items() if not number.limits] == []


@pytest.mark.parametrize("name", OURS)
def test_help_explains_every_parameter_and_nothing_else(name: str) -> None:
    cls = registry.get("strategy", name).load()
    assert sorted(meanings_of(cls)) == sorted(inspect.signature(cls).parameters)


@every_strategy
def test_a_number_out_of_range_or_none_at_all_is_refused_on_the_command_line(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry, out = registry.get("strategy", name), tmp_path / "runs"
    parser = build_parser(registry.get("scenario", "omniglot"), entry)
    monkeypatch.setattr(config, "build_parser", lambda *_: parser)
    for parameter, number in numbers_of(entry).items():
        for value in bad_values(number):
            bad = as_options("strategy", {parameter: value})
            error = refused(capsys, "run", "omniglot", name, *bad, "--out", str(out))
            assert error.startswith(f"cl-suite: --strategy.{parameter} ")
    assert not out.exists()


@every_strategy
def test_an_unknown_parameter_is_refused_with_a_suggestion(name: str) -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", name)
    defaults = build_parser(*pair).get_defaults()
    known = [key for key, _ in defaults.items() if key.startswith("strategy.")]
    wrong = f"{known[0]}x" if known else "strategy.nonsense"
    with pytest.raises(UserError, match=rf"--{wrong} is unknown; (did you mean|known)"):
        resolve(*pair, [f"--{wrong}", "1"])


class SpyPlugin(Spy):
    """A plugin that keeps nothing, and looks for all data of a stream."""

    def __init__(self) -> None:
        super().__init__(make_stream())


def test_a_strategy_reaches_its_own_session_and_no_other_data() -> None:
    subject = Subject(SpyPlugin)
    stream = make_stream()
    engine = subject.engine(stream)
    engine.plugin.owners = Spy(stream).owners
    train(engine)
    assert engine.plugin.found == [{("train", 0)}, {("train", 1)}, {("train", 2)}]


def test_the_spy_would_have_found_a_whole_benchmark() -> None:
    stream = make_stream()
    spy = Spy(stream)
    experience = benchmark(stream).train_stream[0]
    template = types.SimpleNamespace(experience=experience, adapted_dataset=None, dataloader=[])
    spy.after_training_exp(template)
    assert ("train", 2) in spy.found[0]


class StoppingPlugin(StrategyPlugin):
    """Ends each session after one epoch."""

    def after_training_epoch(self, template: Any, **kwargs: Any) -> None:
        template.stop_training()


class WarmUpPlugin(StrategyPlugin):
    """Scales the loss by how much of the session is done."""

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        template.loss *= (1 + template.clock.train_exp_epochs) / template.train_epochs


class CountingPlugin(StrategyPlugin):
    """Learns something, and leaves saving it to the base class."""

    def __init__(self) -> None:
        super().__init__()
        self.seen_: dict[int, int] = {}

    def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
        for label in template.mb_y.tolist():
            self.seen_[label] = self.seen_.get(label, 0) + 1

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        template.loss *= 1 + len(self.seen_)


@pytest.mark.parametrize("plugin", [StoppingPlugin, WarmUpPlugin, CountingPlugin])
def test_a_plugins_own_ways_survive_a_stop(plugin: type[StrategyPlugin]) -> None:
    going_on_equals_never_having_stopped(Subject(plugin))


def test_make_samples_gives_each_class_a_pattern_of_its_own() -> None:
    samples = make_samples([1, 2], per_class=3, seed=0)
    means = [samples.inputs[i : i + 3].float().mean(0) for i in (0, 3)]
    assert (means[0] - means[1]).abs().mean() > 20
