"""What every registered strategy must do. A method added later inherits all of this."""

from __future__ import annotations

import gc
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
import torch
from helpers.numeric_parameters import as_options, bad_values, numbers_of
from helpers.tiny_models import fitting, make_plugin, reads_text, tiny_classifier
from helpers.tiny_runs import refused
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.avalanche import api, benchmark
from cl_suite.data.samples import UNLABELLED, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.parameters import annotations_of
from cl_suite.plugin import StrategyPlugin, requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.runs import config
from cl_suite.runs.config import build_parser, resolve
from cl_suite.storage import checkpoint

STRATEGIES = sorted(registry.entries("strategy"))
OURS = [n for n in STRATEGIES if "avalanche" not in registry.get("strategy", n).class_path]
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def make_engine(name: str, stream: Stream | None = None, **training: Any) -> Engine:
    stream = fitting(stream or make_stream(), name)
    settings = registry.get("strategy", name).settings.get("training") or {}
    recipe = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 16, "lr": 0.02}
    # of a strategy's own recipe the form, not the length
    own = {k: v for k, v in settings.items() if "epochs" not in k or v in (0, None)}
    seed_everything(0)
    plugin = make_plugin(name)
    model = tiny_classifier(name, stream, plugin)
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **own, **training}))


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, engine.stream.info.num_sessions):
        engine.train_session(session)
    return engine


def classifies(name: str) -> bool:
    return requirements_of(make_plugin(name)).classifier


def weights(engine: Engine) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in engine.model.state_dict().items()}


def differences(engine: Engine, expected: dict[str, Tensor]) -> list[str]:
    found = engine.model.state_dict()
    return [k for k in expected if k not in found or not found[k].equal(expected[k])]


@every_strategy
def test_it_sees_no_label_if_it_says_that_it_needs_none(name: str) -> None:
    engine = make_engine(name)
    seen: set[int] = set()

    class Watch:
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            seen.update(template.mb_y.tolist())
            seen.update(template.adapted_dataset.targets)

    engine.template.plugins.insert(0, Watch())
    train(engine)
    if requirements_of(engine.plugin).labels:
        assert seen <= set(range(8))
    else:
        assert seen == {UNLABELLED}


@pytest.mark.parametrize("name", OURS)
def test_the_constructor_only_stores_its_parameters(name: str) -> None:
    cls = registry.get("strategy", name).load()
    parameters = inspect.signature(cls).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    plugin = cls()
    for parameter in parameters:
        assert parameter.default is not parameter.empty, f"{parameter.name} has no default"
        assert getattr(plugin, parameter.name) is parameter.default
    others = set(vars(plugin)) - {p.name for p in parameters}
    # what is learned ends in an underscore, and what is of no later use begins with one
    assert all(each.endswith("_") or each.startswith("_") for each in others), others


@every_strategy
def test_every_number_among_its_parameters_has_a_range(name: str) -> None:
    numbers = numbers_of(registry.get("strategy", name))
    assert [parameter for parameter, number in numbers.items() if not number.limits] == []


@pytest.mark.parametrize("name", OURS)
def test_a_number_out_of_range_or_none_at_all_is_refused_in_a_program(name: str) -> None:
    entry = registry.get("strategy", name)
    for parameter, number in numbers_of(entry).items():
        for value in bad_values(number):
            with pytest.raises(UserError, match=f"^{parameter} "):
                entry.load()(**{parameter: value})


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


@pytest.mark.parametrize("name", OURS)
def test_a_word_that_is_no_choice_is_refused_in_a_program(name: str) -> None:
    cls = registry.get("strategy", name).load()
    for parameter, annotation in annotations_of(cls).items():
        if get_origin(annotation) is Literal:
            with pytest.raises(UserError, match=f"^{parameter} must be one of .*, got 'nonsense'"):
                cls(**{parameter: "nonsense"})


@every_strategy
def test_an_unknown_parameter_is_refused_with_a_suggestion(name: str) -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", name)
    defaults = build_parser(*pair).get_defaults()
    known = [key for key, _ in defaults.items() if key.startswith("strategy.")]
    wrong = f"{known[0]}x" if known else "strategy.nonsense"
    with pytest.raises(UserError, match=rf"--{wrong} is unknown; (did you mean|known)"):
        resolve(*pair, [f"--{wrong}", "1"])


@every_strategy
def test_a_session_of_one_image_works(name: str) -> None:
    # one, or as few as it says that it can work with
    fewest = requirements_of(make_plugin(name)).batch.smallest
    stream = make_stream([[3, 0], [1]], base_shots=4, shots=fewest)
    engine = train(make_engine(name, stream, batch_size=4))
    assert sorted(engine.model.head.classes) == ([0, 1, 3] if classifies(name) else [])
    assert engine.evaluate(1).sum() == 15


@every_strategy
def test_a_base_session_of_one_image_a_class_works(name: str) -> None:
    stream = make_stream([[3, 0, 2], [1]], base_shots=1, shots=1)
    assert train(make_engine(name, stream)).evaluate(1).sum() == 20


@every_strategy
def test_only_classes_seen_are_predicted_whatever_their_order(name: str) -> None:
    engine = make_engine(name)
    for session in range(3):
        engine.train_session(session)
        seen = list(engine.stream.info.seen_classes(session))
        confusion = engine.evaluate(session)
        assert confusion[seen][:, seen].sum() == confusion.sum() == 5 * len(seen)


@every_strategy
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    first, second = train(make_engine(name)), train(make_engine(name))
    assert differences(second, weights(first)) == []


@every_strategy
def test_save_load_continue_equals_never_having_stopped(name: str, tmp_path: Path) -> None:
    engine = make_engine(name)
    saved: list[tuple[Path, int]] = []

    def save(next_session: int) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected, hits = weights(engine), engine.evaluate(2)
    assert len(saved) >= 3  # after each session at least
    for path, next_session in saved:
        resumed = make_engine(name)
        torch.rand(7)  # a resumed process has drawn other random numbers
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, next_session)
        assert differences(resumed, expected) == [], f"resumed from {path.stem}"
        assert resumed.evaluate(2).equal(hits)


@every_strategy
def test_training_and_evaluation_leave_the_models_mode_alone(name: str) -> None:
    engine = make_engine(name)
    engine.model.train()
    engine.train_session(0)
    assert engine.model.training
    modes = [part.training for part in engine.model.modules()]
    engine.evaluate(0)
    assert [part.training for part in engine.model.modules()] == modes


@every_strategy
def test_bfloat16_autocast_trains_with_finite_losses(name: str) -> None:
    losses: list[float | None] = []
    engine = make_engine(name, precision="bfloat16")
    engine.on_epoch = lambda record: losses.append(record.loss)
    train(engine)
    assert all(loss is None or torch.tensor(loss).isfinite() for loss in losses)
    assert all(v.isfinite().all() for v in engine.model.state_dict().values())
    assert all(v.dtype != torch.bfloat16 for v in engine.model.state_dict().values())


@every_strategy
def test_a_prediction_is_the_same_alone_and_in_any_batch(name: str) -> None:
    engine = train(make_engine(name))
    model = engine.model.eval()
    samples = engine.stream.test[0]
    raw = torch.stack([samples[i][0] for i in range(len(samples))])
    images = engine.stream.info.eval_transform(raw)
    function = model if classifies(name) else model.features
    with torch.no_grad():
        together = function(images)
        alone = torch.cat([function(image[None]) for image in images])
    # kernels for one image and for many round differently in the last bits
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    assert alone.argmax(1).equal(together.argmax(1))


@every_strategy
def test_evaluation_changes_nothing_learned(name: str) -> None:
    engine = make_engine(name)
    engine.train_session(0)
    before = weights(engine)
    engine.evaluate(2)  # classes to come included
    assert differences(engine, before) == []
    assert sorted(engine.model.head.classes) == ([0, 2, 5, 7] if classifies(name) else [])


class GuardedSamples(TensorSamples):
    """Samples that may not be looked at while `locked`."""

    locked = False

    @property
    def inputs(self) -> Tensor:
        assert not type(self).locked, "test data was read while training"
        return self._inputs

    @inputs.setter
    def inputs(self, value: Tensor) -> None:
        self._inputs = value

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.targets[index]


@every_strategy
def test_test_data_is_never_read_while_training(name: str) -> None:
    stream = make_stream()
    guarded = tuple(GuardedSamples(s.inputs, s.targets) for s in stream.test)  # type: ignore[attr-defined]
    stream = Stream(stream.info, stream.train, guarded)
    engine = make_engine(name, stream)
    for session in range(3):
        GuardedSamples.locked = True
        try:
            engine.train_session(session)
        finally:
            GuardedSamples.locked = False
        engine.evaluate(session)


def reachable(root: Any) -> Iterator[Any]:
    """Yield everything to be reached by attribute, item, bound method or closure.

    A function's globals and a module's names are left out: they lead everywhere.
    """
    stop = (types.ModuleType, type, types.BuiltinFunctionType, types.FrameType)
    seen: set[int] = set()
    todo = [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, stop):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, types.FunctionType):
            todo += [cell.cell_contents for cell in item.__closure__ or ()]
            todo += [item.__defaults__, item.__kwdefaults__, vars(item)]
        else:
            todo += gc.get_referents(item)


class Spy:
    """A plugin that notes, in each session, what it could get hold of."""

    def __init__(self, stream: Stream) -> None:
        self.owners = {
            id(s.inputs): (kind, i)  # type: ignore[attr-defined]
            for kind, sets in (("train", stream.train), ("test", stream.test))
            for i, s in enumerate(sets)
        }
        self.found: list[set[tuple[str, int]]] = []

    def after_training_exp(self, template: Any, **kwargs: Any) -> None:
        self.found.append(
            {self.owners[id(item)] for item in reachable(template) if id(item) in self.owners}
        )


def test_a_strategy_reaches_no_later_session_and_no_test_data() -> None:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    spy = Spy(stream)
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=1, batch_size=16)
    train(Engine(stream, model, spy, recipe))
    assert spy.found == [{("train", 0)}, {("train", 1)}, {("train", 2)}]


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
def test_a_plugins_own_ways_survive_a_stop(plugin: type[StrategyPlugin], tmp_path: Path) -> None:
    def make() -> Engine:
        stream = make_stream()
        seed_everything(0)
        model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
        recipe = TrainingConfig(base_epochs=3, incremental_epochs=3, batch_size=16, lr=0.02)
        return Engine(stream, model, plugin(), recipe)

    engine, saved = make(), []

    def save(record: EpochRecord) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, record.session))

    engine.on_epoch = save
    expected = weights(train(engine))
    for path, session in saved:
        resumed = make()
        resumed.load_state_dict(checkpoint.load(path))
        assert differences(train(resumed, session), expected) == [], path.stem


def test_the_spy_would_have_found_a_whole_benchmark() -> None:
    stream = make_stream()
    spy = Spy(stream)
    experience = benchmark(stream).train_stream[0]
    template = types.SimpleNamespace(experience=experience, adapted_dataset=None, dataloader=[])
    spy.after_training_exp(template)
    assert ("train", 2) in spy.found[0]


class Network(nn.Module):
    """A network that knows nothing of cl-suite."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x))


def ours() -> Classifier:
    return build_classifier(ModelConfig(), (1, 16, 16), 8)


@pytest.mark.filterwarnings("ignore:No loggers specified")
@pytest.mark.parametrize("network", [Network, ours])
@every_strategy
def test_it_works_as_a_plain_plugin_in_a_bare_template(
    name: str, network: Callable[[], nn.Module]
) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics

    seed_everything(0)
    plugin, stream = make_plugin(name), fitting(make_stream(), name)
    if reads_text(name):
        if network is Network:
            pytest.skip("a foreign network reads no text")
        model: nn.Module = tiny_classifier(name, stream, None)
        plugin.class_names = list(stream.info.class_names)
    else:
        model = network()
    if isinstance(model, Classifier) and not isinstance(plugin, StrategyPlugin):
        model.head.grow(range(8))  # Avalanche's own plugins do not know our head
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[plugin],
        evaluator=api.EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
    )
    for session, experience in enumerate(benchmark(stream).train_stream):
        template.train(experience)
        results = template.eval(benchmark(stream).test_stream[: session + 1])
    assert 0 <= results["Top1_Acc_Stream/eval_phase/test_stream"] <= 1
    # classes that were never learned may be evaluated too, as Avalanche programs do
    template.eval(benchmark(stream).test_stream)


def test_make_samples_gives_each_class_a_pattern_of_its_own() -> None:
    samples = make_samples([1, 2], per_class=3, seed=0)
    means = [samples.inputs[i : i + 3].float().mean(0) for i in (0, 3)]
    assert (means[0] - means[1]).abs().mean() > 20
