"""What a method promises outside the suite: it is a plain plugin of Avalanche's own template."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from cl_suite.avalanche import benchmark
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.testing.subject import DoesNotApply, Subject, claim

ACCURACY = "Top1_Acc_Stream/eval_phase/test_stream"


class Network(nn.Module):
    """A network that knows nothing of cl-suite."""

    def __init__(self, num_classes: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.body(x))
        return scores


def works_in_a_plain_template(subject: Subject) -> None:
    """Avalanche's `SupervisedTemplate` trains and evaluates the suite's classifier with it."""
    stream, plugin = subject.stream(), subject.plugin()
    seed_everything(0)
    # a plain program prepares nothing: the plugin does it itself
    if subject.requirements.text_tower:
        model = subject.classifier(stream, None)
        plugin.class_names = list(stream.info.class_names)
    elif subject.requirements.class_token:
        model = subject.classifier(stream, None)
    else:
        config = ModelConfig(head=cast(Any, subject.requirements.head or "cosine"))
        model = build_classifier(config, stream.info.input_shape, stream.info.num_classes)
    if not subject.is_ours:
        model.head.grow(range(8))  # Avalanche's own plugins do not know our head
    _run(plugin, model, stream)


def works_with_a_foreign_network(subject: Subject) -> None:
    """The same with a network that is not the suite's."""
    if subject.requirements.text_tower:
        raise DoesNotApply("a foreign network reads no text")
    if subject.requirements.class_token:
        raise DoesNotApply("this foreign network has no class token")
    seed_everything(0)
    plugin = subject.plugin()
    _run(plugin, Network(), subject.stream())


def _run(plugin: Any, model: nn.Module, stream: Any) -> None:
    # seconds to import
    from avalanche.evaluation.metrics import accuracy_metrics

    from cl_suite.avalanche import api

    with api.quiet():
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
        accuracy = results[ACCURACY]
        claim(0 <= accuracy <= 1, f"the accuracy is {accuracy}")
        # classes that were never learned may be evaluated too, as Avalanche programs do
        template.eval(benchmark(stream).test_stream)


AVALANCHE_CHECKS = (works_in_a_plain_template, works_with_a_foreign_network)
