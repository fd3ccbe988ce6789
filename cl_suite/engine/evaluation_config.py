"""Evaluation settings: the probes that measure a run's features, and what is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from cl_suite.errors import UserError

MOST_NEIGHBOURS = 2**31 - 1
ProbeName = Literal["linear", "knn"]
IN_WORDS: dict[str, str] = {
    "classifier": "its classifier",
    "linear": "a linear probe on its features",
    "knn": "a nearest-neighbour probe on its features",
}


@dataclass(frozen=True)
class EvaluationConfig:
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
        dynamics: record how much every tensor of the network moves in each epoch, for
            `cl-suite sensitivity`.
    """

    probes: list[ProbeName] = field(default_factory=list)
    sessions: Literal["seen", "all"] = "seen"
    neighbours: int = 20
    temperature: float = 0.07
    task_known: bool = False
    dynamics: bool = False

    def in_words(self, measure: str) -> str:
        """Return a measure in words."""
        told = measure == "classifier" and self.task_known
        return IN_WORDS[measure] + (", told the session of each sample" if told else "")

    def check(self) -> None:
        """Raise `UserError` for a value out of range."""
        if len(set(self.probes)) != len(self.probes):
            raise UserError(f"--evaluation.probes lists one twice: {self.probes}; name each once")
        if self.neighbours < 1:
            raise UserError(f"--evaluation.neighbours must be at least 1, got {self.neighbours}")
        if self.neighbours > MOST_NEIGHBOURS:
            raise UserError(
                f"--evaluation.neighbours must be at most {MOST_NEIGHBOURS}, got {self.neighbours}"
            )
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"--evaluation.temperature must be above 0 and finite, got {self.temperature}"
            )
