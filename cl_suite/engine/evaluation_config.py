"""Evaluation settings: the probes that measure a run's features, and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from cl_suite.errors import UserError, option
from cl_suite.parameters import Above, Parameters, Within

ProbeName = Literal["linear", "knn"]
Transductive = Literal["none", "softmax", "sinkhorn"]
# in the description of a measure, and in a method's name in tables
TRANSDUCTIVE = "(transductive)"
IN_WORDS: dict[str, str] = {
    "classifier": "its classifier",
    "linear": "a linear probe on its features",
    "knn": "a nearest-neighbour probe on its features",
}


@dataclass(frozen=True)
class EvaluationConfig(Parameters):
    """Settings of the evaluation.

    A probe is a classifier fitted after each session on the current features. It measures the
    quality of a representation, not the strategy's predictions. It is fitted on labelled training
    samples of past sessions, which the strategy itself does not keep. It never uses test samples.

    Args:
        probes: linear (logistic regression), knn (votes of nearest neighbours); the first one
            measures a strategy without a classifier.
        sessions: sessions whose training samples a probe sees: those so far (seen), or the whole
            stream (all), as in the literature on self-supervised streams.
        neighbours: number of neighbours that vote in a knn probe.
        temperature: a neighbour's vote weighs exp(cosine / temperature).
        task_known: give the classifier the session of each test sample; it then chooses among that
            session's classes (task-incremental). Probes never receive it.
        transductive: move the classifier's prototypes by all unlabelled test samples so far before
            these are classified: softmax (iterative adaptation) or sinkhorn (optimal transport);
            see `cl_suite.features.refine`. Such figures do not compare with others, so the run and
            its tables are marked.
        dynamics: record how much every tensor of the network moves in each epoch, for
            `cl-suite sensitivity`.
        confidence: measure after each session how far the classifier's probabilities can be
            trusted (calibration error, log loss, Brier score), as they are and with a temperature
            fitted to training samples. Their features are computed for it.
    """

    _option_prefix = "evaluation."

    probes: list[ProbeName] = field(default_factory=list)
    sessions: Literal["seen", "all"] = "seen"
    neighbours: Annotated[int, Within(1), Within(high=2**31 - 1)] = 20
    temperature: Annotated[float, Above(0)] = 0.07
    task_known: bool = False
    transductive: Transductive = "none"
    dynamics: bool = False
    confidence: bool = False

    def in_words(self, measure: str) -> str:
        """Return a measure in words."""
        told = measure == "classifier" and self.task_known
        moved = measure == "classifier" and self.transductive != "none"
        return (
            IN_WORDS[measure]
            + (", told the session of each sample" if told else "")
            + (f", moved by the unlabelled test samples {TRANSDUCTIVE}" if moved else "")
        )

    def check(self) -> None:
        """Raise `UserError` for a probe that comes twice, or settings that exclude each other."""
        if len(set(self.probes)) != len(self.probes):
            raise UserError(
                f"{option('evaluation.probes')} lists one twice: {self.probes}; name each once"
            )
        if self.transductive == "none":
            return
        for name, is_set in {"task_known": self.task_known, "confidence": self.confidence}.items():
            if is_set:
                raise UserError(
                    f"{option('evaluation.transductive', self.transductive)} classifies all test "
                    f"samples together, which contradicts {option(f'evaluation.{name}', 'true')}; "
                    "leave one of them out"
                )
