"""PICLE in streams: oracle O7, resuming within a search, and its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.confusions import evaluate_sessions
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.modular.head import ModularHead
from cl_suite.methods.modular.path_search import Problem
from cl_suite.methods.modular.searches import PLANS, SearchName
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.picle import PICLEPlugin

SESSIONS = [[3, 0], [5, 1], [2, 4]]
PATTERNS = make_stream(SESSIONS, base_shots=20, shots=20)


def plain(stream: Stream) -> Stream:
    """Return the stream without random transforms: modules as small as these need it easy."""
    return stream.with_transforms(ToFloat(), ToFloat())


def repeated() -> Stream:
    """Return a stream whose second problem is the first one, by other class ids."""
    train, test = make_samples([0, 1], 30, seed=0), make_samples([0, 1], 10, seed=1)

    def renamed(samples: TensorSamples) -> TensorSamples:
        return TensorSamples(samples.inputs.clone(), [t + 2 for t in samples.targets])

    return build_stream(
        name="repeated",
        class_names=["a", "b", "a again", "b again"],
        session_classes=[[0, 1], [2, 3]],
        train=[train, renamed(train)],
        test=[test, renamed(test)],
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
    )


def make_engine(
    stream: Stream | None = None, parameters: dict[str, Any] | None = None, **training: Any
) -> Engine:
    stream = stream or plain(PATTERNS)
    seed_everything(0)
    plugin = PICLEPlugin(**{"path_epochs": 4, "maps": 4, "hidden": 16, **(parameters or {})})
    model = build_classifier(
        ModelConfig(backbone="identity"), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe: dict[str, Any] = {
        "base_epochs": 4,
        "incremental_epochs": 24,
        "incremental_lr": None,
        "optimizer": "adamw",
        "lr": 0.01,
        "schedule": "constant",
        "batch_size": 8,
    }
    told = EvaluationConfig(task_known=True)
    config = TrainingConfig(**{**recipe, **training})
    return Engine(stream, model, plugin, config, evaluation=told)


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, engine.stream.info.num_sessions):
        engine.train_session(session)
    return engine


def head_of(engine: Engine) -> ModularHead:
    assert isinstance(engine.model.head, ModularHead)
    return engine.model.head


def weights(engine: Engine) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in engine.model.state_dict().items()}


def accuracy(confusion: Tensor) -> float:
    return float(confusion.diag().sum() / confusion.sum())


def test_it_learns_every_problem_and_o7_forgets_none_of_them() -> None:
    engine = make_engine(parameters={"path_epochs": 20}, base_epochs=20, incremental_epochs=60)
    first: list[Tensor] = []
    for session in range(3):
        engine.train_session(session)
        found = evaluate_sessions(engine, session, "classifier")
        assert all(now.equal(then) for now, then in zip(found, first, strict=False))
        first.append(found[-1])
    assert min(accuracy(confusion) for confusion in first) >= 0.9


def test_o7_library_modules_stay_as_they_are_bit_for_bit() -> None:
    engine = make_engine()
    engine.train_session(0)
    engine.train_session(1)
    before = {k: v.clone() for k, v in head_of(engine).library.state_dict().items() if "body" in k}
    engine.train_session(2)
    after = head_of(engine).library.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items())


def test_o7_a_repeated_problem_is_solved_by_its_own_solution_and_trains_nothing() -> None:
    # at this rate new modules stay as random as they begin
    engine = make_engine(repeated(), incremental_lr=1e-12, base_epochs=30)
    engine.plugin.path_epochs = 30
    engine.train_session(0)
    assert engine.plugin.session_note(0).startswith("re-uses nothing: the best of 1 paths, ")
    names, solution = list(head_of(engine).library), head_of(engine).solution(0)
    engine.plugin.path_epochs = 1
    engine.train_session(1)
    assert head_of(engine).solution(1) == solution
    assert list(head_of(engine).library) == names
    note = engine.plugin.session_note(1)
    assert note.startswith(f"re-uses {', '.join(head_of(engine).layout(1))} of session 0: the best")
    assert head_of(engine).entry(names[0]).problems.tolist() == [0, 1]
    matrices = evaluate_sessions(engine, 1, "classifier")
    assert matrices[1][2:, 2:].equal(matrices[0][:2, :2])


def test_a_stop_within_the_search_changes_no_bit(tmp_path: Path) -> None:
    settings = {"path_epochs": 2, "patience": 1}
    engine = make_engine(parameters=settings)
    saved: list[tuple[Path, int, bool]] = []

    def save(next_session: int) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        # the ninth path re-uses the whole prefix; from then on suffixes are sought
        in_suffixes = len(engine.plugin.ledger_.outcomes) >= 9
        saved.append((path, next_session, in_suffixes))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected, hits = weights(engine), engine.evaluate(2)
    assert len(saved) > 30  # several paths of two epochs in each later session
    late = [point for point in saved if point[2]]
    assert len(late) > 4
    for path, next_session, _ in [*saved[1::8], *late[::2]]:
        resumed = make_engine(parameters=settings)
        torch.rand(7)  # a resumed process has drawn other random numbers
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, next_session)
        found = resumed.model.state_dict()
        assert list(found) == list(expected)
        assert all(found[k].equal(v) for k, v in expected.items()), path.stem
        assert resumed.evaluate(2).equal(hits)


def test_plain_covariances_survive_a_stop_within_the_search(tmp_path: Path) -> None:
    settings = {"path_epochs": 2, "patience": 1, "covariance": "paper"}
    engine, path = make_engine(parameters=settings), tmp_path / "state.safetensors"
    engine.train_session(0)
    entry = head_of(engine).entry("0_conv1")
    assert not entry.sample_covariances.equal(entry.covariances)
    epochs: list[int] = []

    def save(record: Any) -> None:
        epochs.append(record.epoch)
        if len(epochs) == 7:  # within the search for prefixes
            checkpoint.save(path, engine.state_dict())

    engine.on_epoch = save
    engine.train_session(1)
    expected = weights(engine)
    resumed = make_engine(parameters=settings)
    resumed.load_state_dict(checkpoint.load(path))
    resumed.train_session(1)
    assert list(weights(resumed)) == list(expected)
    assert all(weights(resumed)[name].equal(tensor) for name, tensor in expected.items())
    entries = head_of(engine).library
    assert all(len(head_of(engine).entry(n).sample_covariances) for n in entries)


def test_an_unknown_kind_of_covariance_is_refused() -> None:
    with pytest.raises(UserError, match=r"^covariance must be one of paper, shrunk"):
        PICLEPlugin(covariance="plain")  # type: ignore[arg-type]


def test_the_epochs_of_the_recipe_are_the_budget() -> None:
    epochs: list[int] = []
    engine = make_engine(
        parameters={"path_epochs": 3, "patience": 3}, base_epochs=9, incremental_epochs=8
    )
    engine.on_epoch = lambda record: epochs.append(record.session)
    train(engine)
    # an empty library leaves one path; later the third path is cut short
    assert [epochs.count(session) for session in range(3)] == [3, 8, 8]
    assert len(engine.plugin.ledger_.outcomes) == 3


def test_a_path_ends_where_its_loss_falls_no_more() -> None:
    epochs: list[int] = []
    engine = make_engine(parameters={"path_epochs": 50, "patience": 2}, lr=1e-12, base_epochs=50)
    engine.on_epoch = lambda record: epochs.append(record.epoch)
    engine.train_session(0)
    assert len(epochs) < 50


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (3, 10)])
def test_a_path_ends_after_so_many_epochs_without_a_lower_loss(
    patience: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # lower than ever in epochs 2, 4, 7 and 11; an equal loss is no lower one
    losses = [0.9, 0.5, 0.5, 0.4, 0.6, 0.4, 0.3, 0.7, 0.3, 0.8, 0.1]
    given = iter([*losses, *[0.0] * 50])
    monkeypatch.setattr(Problem, "worth", lambda self, modules: (0.5, next(given)))
    engine = make_engine(parameters={"path_epochs": 50, "patience": patience}, base_epochs=50)
    engine.train_session(0)
    assert engine.state.epochs_done == epochs


@pytest.mark.parametrize("search", list(PLANS))
def test_every_search_solves_a_second_problem(search: SearchName) -> None:
    engine = make_engine(parameters={"search": search, "path_epochs": 3}, incremental_epochs=12)
    engine.train_session(0)
    engine.train_session(1)
    assert accuracy(evaluate_sessions(engine, 1, "classifier")[1]) >= 0.7
    if search == "standalone":
        assert all(name.startswith("1_") for name in head_of(engine).solution(1))


def test_the_density_of_inputs_tells_the_problem_where_nobody_does() -> None:
    engine = train(make_engine())
    untold = 0.0
    for session, samples in enumerate(engine.stream.test):
        assert isinstance(samples, TensorSamples)
        with torch.no_grad():
            found = engine.model.eval()(ToFloat()(samples.inputs)).argmax(1).tolist()
        untold += sum(c in SESSIONS[session] for c in found) / len(found) / 3
    assert untold >= 0.9


def test_held_out_samples_are_not_trained_on() -> None:
    engine = make_engine(parameters={"validation_rate": 0.3})
    seen: list[int] = []

    class Watch:
        def before_training_epoch(self, template: Any, **kwargs: Any) -> None:
            seen.append(len(template.adapted_dataset))
            assert len(engine.plugin._problem.held_inputs) == 12

    engine.template.plugins.append(Watch())
    engine.train_session(0)
    assert set(seen) == {28}  # of 20 a class


def test_it_keeps_inputs_of_modules_that_can_begin_a_suffix_and_says_so() -> None:
    engine = make_engine()
    engine.train_session(0)
    # 30 items learnt from, their codes of 8 numbers (one image an item) in single precision
    assert engine.kept_data() == (30, 30 * 8 * 4)


def test_a_flat_session_takes_layers_of_its_own() -> None:
    engine = make_engine(parameters={"flat_sessions": [1], "search": "standalone"})
    engine.train_session(0)
    engine.train_session(1)
    assert head_of(engine).layout(0)[0] == "conv1"
    assert head_of(engine).layout(1)[0] == "flat1"
    assert accuracy(evaluate_sessions(engine, 1, "classifier")[1]) >= 0.7


def test_another_backbone_is_refused() -> None:
    with pytest.raises(UserError, match=r"pass model\.backbone='identity'"):
        build_classifier(ModelConfig(backbone="conv4"), (1, 64, 64), 4, PICLEPlugin())


@pytest.mark.parametrize("shape", [(1, 8, 32), (256,)])
def test_items_that_are_no_square_pictures_are_refused(shape: tuple[int, ...]) -> None:
    import dataclasses

    info = dataclasses.replace(PATTERNS.info, input_shape=shape)
    with pytest.raises(UserError, match="needs square images"):
        PICLEPlugin().check_stream(info, [20])


def test_the_session_must_be_told() -> None:
    assert requirements_of(PICLEPlugin()).session_told
