"""How a run is measured: by its classifier, and by probes on the features it has learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from cl_suite.errors import UserError

ProbeName = Literal["linear", "knn"]
IN_WORDS: dict[str, str] = {
    "classifier": "its classifier",
    "linear": "a linear probe on its features",
    "knn": "a nearest-neighbour probe on its features",
}


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of the measuring.

    Probes are classifiers fitted after each session on features as they are then. A probe says what
    a representation is worth, not what the strategy predicts. It is fitted on the labelled training
    samples of sessions gone by, of which the strategy itself keeps none, and never on test samples.

    Args:
        probes: linear (logistic regression), knn (votes of nearest neighbours); a strategy without
            a classifier is measured by the first one.
        sessions: whose training samples a probe sees: those so far (seen), or of the whole stream
            (all), as the literature on self-supervised streams does.
        neighbours: that vote in a knn probe.
        temperature: a neighbour's vote weighs exp(cosine / temperature).
        task_known: tell the classifier which session a test sample belongs to, so that it chooses
            among that session's classes (task-incremental); probes are never told.
        dynamics: note how much every tensor of the network moves in each epoch, for
            `cl-suite sensitivity`.
    """

    probes: list[ProbeName] = field(default_factory=list)
    sessions: Literal["seen", "all"] = "seen"
    neighbours: int = 20
    temperature: float = 0.07
    task_known: bool = False
    dynamics: bool = False

    def in_words(self, measure: str) -> str:
        """Return what a measure's figures are of."""
        told = measure == "classifier" and self.task_known
        return IN_WORDS[measure] + (", told the session of each sample" if told else "")

    def check(self) -> None:
        """Raise `UserError` for a value out of range."""
        if len(set(self.probes)) != len(self.probes):
            raise UserError(f"--evaluation.probes names one twice: {self.probes}; name each once")
        if self.neighbours < 1:
            raise UserError(f"--evaluation.neighbours must be at least 1, got {self.neighbours}")
        if not 0 < self.temperature < math.inf:
            raise UserError(
                f"--evaluation.temperature must be above 0 and finite, got {self.temperature}"
            )
