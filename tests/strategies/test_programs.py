"""Every strategy as a plugin of a plain Avalanche program, on data that the suite did not make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, nc_benchmark, split_online_stream
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.models import MTSimpleMLP, SimpleMLP
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.avalanche.loader import batches
from cl_suite.errors import UserError
from cl_suite.plugin import requirements_of, rows_of
from cl_suite.requirements import BatchLayout
from cl_suite.strategies import (
    CLERPlugin,
    DERPlugin,
    ERACEPlugin,
    ERPlugin,
    FinetunePlugin,
    KNNPlugin,
)

DIM = 8
IMAGES = {"cler", "picle"}
SMALL = {
    "cler": {"host": "er"},
    "fpf": {"host": "er", "iterations": 2},
    "kfpf": {"iterations": 2},
    "mamlcon": {"meta_epochs": 1, "meta_steps": 1, "shots": 1, "queries": 1},
    "limit": {"meta_epochs": 1},
    "coact": {"lora_rank": 1},
    "protonet": {"shots": 1, "queries": 1},
}
KINDS: dict[str, Callable[[int], Any]] = {"int": int, "tensor": torch.tensor, "numpy": np.int64}


class Vectors(torch.utils.data.Dataset[Any]):
    """Six vectors of each class; class ids are of the type that `kind` makes."""

    def __init__(self, classes: list[int], kind: Callable[[int], Any] = int) -> None:
        self.targets = [c for c in classes for _ in range(6)]
        noise = torch.randn(24, 6, DIM, generator=torch.Generator().manual_seed(0))
        self.x = torch.cat([noise[c] + 3 * torch.eye(DIM)[c] for c in classes])
        self.kind = kind

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.x[index], self.kind(self.targets[index])


def strategies() -> list[str]:
    """Return our strategies that learn from vectors, without text or a transformer's tokens."""
    ours = [n for n, e in registry.entries("strategy").items() if "cl_suite" in e.load().__module__]
    needs = {name: requirements_of(plugin(name)) for name in ours}
    bare = {n for n, needed in needs.items() if not (needed.text_tower or needed.class_token)}
    return sorted(bare - IMAGES)


def plugin(name: str) -> Any:
    """Return a strategy's plugin, as small as these streams need."""
    made_of = registry.get("strategy", name).load()
    return made_of(**SMALL.get(name, {}))


def template(plugin: Any, model: nn.Module | None = None, **more: Any) -> SupervisedTemplate:
    """Return a program's template with this plugin."""
    torch.manual_seed(0)
    model = model or SimpleMLP(num_classes=4, input_size=DIM, hidden_size=32, drop_rate=0)
    return SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=4,
        train_epochs=2,
        plugins=[plugin],
        evaluator=EvaluationPlugin(loggers=[]),
        **more,
    )


def experiences(kind: Callable[[int], Any] = int) -> Any:
    """Return two sessions of two classes, without a classes timeline."""
    data = [as_classification_dataset(Vectors([c, c + 1], kind)) for c in (0, 2)]
    return benchmark_from_datasets(train=data, test=data)


def trained(plugin: Any, stream: Any, model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the weights after training on a stream, evaluated after each session."""
    program = template(plugin, model)
    for experience in stream:
        program.train(experience)
        program.eval(experience)
    return dict(program.model.state_dict())


@pytest.mark.parametrize("kind", ["tensor", "numpy"])
@pytest.mark.parametrize("name", strategies())
def test_class_ids_may_be_tensors_or_numpy_numbers(name: str, kind: str) -> None:
    expected = trained(plugin(name), experiences().train_stream)
    found = trained(plugin(name), experiences(KINDS[kind]).train_stream)
    assert all(found[key].equal(expected[key]) for key in expected)


@pytest.mark.parametrize("name", strategies())
def test_an_online_stream_is_learned_or_refused_in_a_sentence(name: str) -> None:
    stream = split_online_stream(experiences().train_stream, 4, access_task_boundaries=True, seed=0)
    made = plugin(name)
    if requirements_of(made).kinds == ("class",):
        with pytest.raises(UserError, match="learns only from streams of new classes"):
            trained(made, stream)
    else:
        assert trained(made, stream)


def tasks() -> Any:
    """Return a benchmark of two tasks, whose batches end with a task label."""
    data = as_classification_dataset(Vectors([0, 1, 2, 3]))
    return nc_benchmark(data, data, n_experiences=2, task_labels=True, shuffle=False)


@pytest.mark.parametrize("name", strategies())
def test_task_labels_in_the_batch_are_no_rows_or_views(name: str) -> None:
    assert trained(plugin(name), tasks().train_stream)


@pytest.mark.parametrize("name", strategies())
def test_a_network_with_task_labels_is_trained_or_refused_in_a_sentence(name: str) -> None:
    made, model = plugin(name), MTSimpleMLP(input_size=DIM, hidden_size=8)
    if made.runs_network:
        with pytest.raises(UserError, match="runs the network itself"):
            trained(made, tasks().train_stream, model)
    else:
        assert trained(made, tasks().train_stream, model)


@pytest.mark.parametrize("made", [ERPlugin(), DERPlugin(), ERACEPlugin()])
def test_replayed_samples_keep_their_task_label(made: Any) -> None:
    trained(made, tasks().train_stream, MTSimpleMLP(input_size=DIM, hidden_size=8))
    exemplars = made.buffer_.exemplars
    _, labels, extras = exemplars.batch(range(len(exemplars)))
    assert extras["task"].tolist() == [int(label) // 2 for label in labels]


def test_rows_come_before_the_task_label() -> None:
    data = tasks().train_stream[1].dataset
    layout = BatchLayout(rows=True)

    class Now:
        dataloader = batches(data, 4, shuffle=True, layout=layout)
        mbatch = next(iter(dataloader))

    rows = rows_of(Now, DERPlugin())  # type: ignore[arg-type]  # the attributes that it reads
    assert torch.stack([data[int(row)][0] for row in rows]).equal(Now.mbatch[0])
    assert Now.mbatch[-1].tolist() == [1, 1, 1, 1]


def test_a_plugin_of_new_classes_says_so_if_a_class_comes_again() -> None:
    data = [as_classification_dataset(Vectors([0, 1])) for _ in range(2)]
    stream = benchmark_from_datasets(train=data).train_stream
    with pytest.raises(UserError, match="session 1 brings class 0 of session 0 again"):
        trained(KNNPlugin(), stream)


def test_cler_on_vectors_ends_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"an input has shape \(8,\)"):
        trained(CLERPlugin(host="er"), experiences().train_stream)


def test_a_class_without_timeline_gets_a_row_of_our_classifier() -> None:
    from cl_suite.models.classifier import ModelConfig, build_classifier

    model = build_classifier(ModelConfig(backbone="identity", head="linear"), (DIM,))
    trained(FinetunePlugin(), experiences().train_stream, model)
    assert model.head.classes == [0, 1, 2, 3]


def test_a_criterion_that_is_not_finite_on_classes_to_come_is_refused_in_a_program() -> None:
    from cl_suite.models.classifier import ModelConfig, build_classifier

    model = build_classifier(ModelConfig(backbone="identity", head="linear"), (DIM,), 4)
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    program = template(FinetunePlugin(), model)
    program._criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    with pytest.raises(UserError, match="LearnedColumns"):
        program.train(experiences().train_stream[0])
    assert all(model.backbone.state_dict()[name].equal(before[name]) for name in before)


def test_a_share_of_few_samples_keeps_one_of_each_class() -> None:
    made = ERPlugin()  # 1 % of 24 samples
    trained(made, experiences().train_stream)
    assert made.buffer_.exemplars.targets == [0, 1, 2, 3]


def test_messages_name_options_as_arguments_in_a_program() -> None:
    with pytest.raises(UserError, match=r"^patches must be the square"):
        CLERPlugin(host="er", patches=5).prepare_model(SimpleMLP(input_size=DIM))
