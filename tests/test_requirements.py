"""Requirements of a strategy: one record, its defaults, and a message for each unmet one."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tiny_streams import make_stream

from cl_suite import registry
from cl_suite.data.samples import UNLABELLED, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import on_command_line
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.requirements import (
    KINDS,
    MODALITIES,
    BatchLayout,
    Requirements,
    misfit,
    requirements_of,
    unmet,
    unmet_by_stream,
)


def settings(
    start_from: str | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
) -> Any:
    """Return settings as a run has them, for strategy `this` on scenario `that`."""
    return SimpleNamespace(
        strategy_name="this",
        scenario_name="that",
        start_from=start_from,
        model=ModelConfig(**(model or {})),
        training=TrainingConfig(**(training or {})),
        evaluation=EvaluationConfig(**(evaluation or {})),
    )


# --- who states them ---


def test_a_plugin_that_states_nothing_requires_the_defaults() -> None:
    assert requirements_of(object()) == Requirements()
    assert requirements_of(StrategyPlugin()) == Requirements()


@pytest.mark.parametrize("name", ["ewc", "lwf", "replay"])
def test_a_plugin_of_avalanche_requires_the_defaults(name: str) -> None:
    entry = registry.get("strategy", name)
    plugin = entry.load()(**(entry.settings.get("params") or {}))
    assert not isinstance(plugin, StrategyPlugin)
    assert requirements_of(plugin) == Requirements()


def test_an_attribute_of_that_name_that_is_no_such_record_is_not_read() -> None:
    assert requirements_of(SimpleNamespace(requirements=["torch"])) == Requirements()


def test_the_defaults_fit_every_stream_and_ask_for_plain_batches() -> None:
    default = Requirements()
    assert all(misfit(default, k, m) is None for k in KINDS for m in MODALITIES)
    assert default.batch == BatchLayout(views=1, plain=False, rows=False, smallest=1)
    assert unmet_by_stream(default, settings(start_from="elsewhere"), make_stream()) is None


class Deciding(StrategyPlugin):
    """Requires what its parameter says."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self.views = views

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]
        return Requirements(batch=BatchLayout(views=self.views))


def test_parameters_may_decide() -> None:
    assert requirements_of(Deciding(3)).batch.views == 3


# --- batches ---

LAYOUT = BatchLayout(views=2, plain=True, rows=True, smallest=2)


@pytest.mark.parametrize(
    ("asked", "covered"),
    [
        (LAYOUT, True),
        (dataclasses.replace(LAYOUT, plain=False), True),
        (dataclasses.replace(LAYOUT, rows=False), True),
        (dataclasses.replace(LAYOUT, smallest=1), True),
        (dataclasses.replace(LAYOUT, smallest=3), False),
        (dataclasses.replace(LAYOUT, views=1), False),  # the plain view would be the second
        (dataclasses.replace(LAYOUT, views=3), False),
    ],
)
def test_a_layout_covers_who_asks_for_no_more(asked: BatchLayout, covered: bool) -> None:
    assert LAYOUT.covers(asked) == covered


@pytest.mark.parametrize("asked", [BatchLayout(plain=True), BatchLayout(rows=True)])
def test_a_plain_layout_covers_nobody_who_asks_for_more(asked: BatchLayout) -> None:
    assert BatchLayout().covers(BatchLayout())
    assert not BatchLayout().covers(asked)


# --- what a run does not meet ---


def lacking_labels() -> Stream:
    """Three sessions, the second of which lacks two labels."""
    stream = make_stream()
    samples = stream.train[1]
    assert isinstance(samples, TensorSamples)
    hidden = TensorSamples(samples.inputs, [UNLABELLED] * 2 + list(samples.targets[2:]))
    return dataclasses.replace(stream, train=(stream.train[0], hidden, stream.train[2]))


@pytest.mark.parametrize(
    ("required", "config", "sentence"),
    [
        (
            Requirements(head="cosine"),
            settings(model={"head": "linear"}),
            "needs a cosine head, got 'linear'; pass --model.head cosine",
        ),
        (
            Requirements(text_tower=True),
            settings(model={"backbone": "conv4"}),
            "needs a backbone that reads text, got 'conv4'; pass --model.backbone "
            "clip:openai/clip-vit-base-patch16",
        ),
        (
            Requirements(own_adapters=True),
            settings(model={"lora_rank": 4}),
            "adds its own adapters or prompts to the backbone; leave out --model.lora_rank",
        ),
        (
            Requirements(carries_base_state=True),
            settings(start_from="elsewhere"),
            "carries more than weights out of its base session, so it cannot start from another "
            "run's; leave out --start-from",
        ),
        (
            Requirements(batch=BatchLayout(smallest=2)),
            settings(training={"batch_size": 1}),
            "needs batches of 2 samples or more, got --training.batch_size 1; pass at least 2",
        ),
        (
            Requirements(classifier=False),
            settings(evaluation={"probes": []}),
            "learns no classifier, so a probe must measure it; pass --evaluation.probes "
            "[linear,knn]",
        ),
        (
            Requirements(session_told=True),
            settings(),
            "predicts only if it knows a sample's session; pass --evaluation.task_known true",
        ),
    ],
)
def test_settings_that_do_not_meet_a_requirement_are_said_with_a_remedy(
    required: Requirements, config: Any, sentence: str
) -> None:
    with on_command_line():
        assert unmet(required, config) == f"strategy 'this' {sentence}"


def test_a_program_reads_the_remedy_as_it_would_write_it() -> None:
    probed = unmet(Requirements(classifier=False), settings())
    assert str(probed).endswith("pass evaluation.probes=['linear', 'knn']")
    told = unmet(Requirements(session_told=True), settings())
    assert str(told).endswith("pass evaluation.task_known=True")


@pytest.mark.parametrize(
    ("required", "config"),
    [
        (Requirements(head="cosine"), settings(model={"head": "cosine"})),
        (Requirements(text_tower=True), settings(model={"backbone": "clip:folder"})),
        (Requirements(own_adapters=True), settings()),
        (Requirements(carries_base_state=True), settings()),
        (Requirements(batch=BatchLayout(smallest=2)), settings(training={"batch_size": 2})),
        (Requirements(classifier=False), settings(evaluation={"probes": ["knn"]})),
        (Requirements(session_told=True), settings(evaluation={"task_known": True})),
    ],
)
def test_settings_that_meet_a_requirement_are_left_alone(
    required: Requirements, config: Any
) -> None:
    assert unmet(required, config) is None


@pytest.mark.parametrize(
    ("required", "stream", "sentence"),
    [
        (
            Requirements(kinds=("data", "domain")),
            make_stream(),
            "does not run on scenario 'that': it learns only from streams that bring more data of "
            "the same classes and streams that bring other domains of the same classes; `cl-suite "
            "list pairs` shows the pairs that run",
        ),
        (
            Requirements(modalities=("audio",)),
            make_stream(),
            "does not run on scenario 'that': it learns only from sounds; `cl-suite list pairs` "
            "shows the pairs that run",
        ),
        (
            Requirements(batch=BatchLayout(smallest=7)),
            make_stream(),
            "needs batches of 7 samples or more, but session 1 has 6; give sessions more samples",
        ),
        (
            Requirements(),
            lacking_labels(),
            "learns from labels, but 2 of 6 training samples of session 1 have none; label them, "
            "or choose a strategy that needs none, such as sycon",
        ),
    ],
)
def test_a_stream_that_does_not_meet_a_requirement_is_said(
    required: Requirements, stream: Stream, sentence: str
) -> None:
    assert unmet(required, settings()) is None
    assert unmet_by_stream(required, settings(), stream) == f"strategy 'this' {sentence}"


def test_without_labels_a_strategy_that_needs_none_runs() -> None:
    assert unmet_by_stream(Requirements(labels=False), settings(), lacking_labels()) is None


def test_a_full_session_is_enough_for_its_smallest_batch() -> None:
    stream = make_stream()
    assert min(len(samples) for samples in stream.train) == 6
    assert unmet_by_stream(Requirements(batch=BatchLayout(smallest=6)), settings(), stream) is None


def first_unmet(required: Requirements, config: Any, stream: Stream) -> str | None:
    # as a run asks, before and after it reads its data
    return unmet(required, config) or unmet_by_stream(required, config, stream)


def test_the_first_of_several_is_said_and_settings_come_before_the_stream() -> None:
    required = Requirements(head="cosine", session_told=True, kinds=("data",))
    stream = make_stream()
    told = {"evaluation": {"task_known": True}}
    linear = first_unmet(required, settings(model={"head": "linear"}), stream)
    assert str(linear).startswith("strategy 'this' needs a cosine head")
    assert "knows a sample's session" in str(first_unmet(required, settings(), stream))
    assert "does not run on" in str(first_unmet(required, settings(**told), stream))


def test_the_strategy_that_the_sentence_names_needs_no_labels() -> None:
    assert not requirements_of(registry.get("strategy", "sycon").load()()).labels
