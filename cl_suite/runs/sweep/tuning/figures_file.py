"""The figures of a candidate's run as it goes, one JSON object a line in its folder."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.metrics.headline import Headline
from cl_suite.storage.lines import Lines

NAME = "figures.jsonl"


@dataclass(frozen=True)
class Step:
    """Figures at one moment of a run.

    Attributes:
        step: grows by one with each epoch of the base session; after its longest, with each
            session. Candidates are compared at equal steps.
        average, last, harmonic: fractions; None while undefined.
        done: whether these are the figures of the whole run, by the strategy's own classifier.
    """

    step: int
    average: float | None
    last: float | None
    harmonic: float | None
    done: bool = False

    def figure(self, name: str) -> float | None:
        """Return a figure by name; score is the mean of average and harmonic."""
        if name == "score":
            if self.average is None or self.harmonic is None:
                return None
            return (self.average + self.harmonic) / 2
        value: float | None = getattr(self, name)
        return value


def step_of(step: int, found: Headline, done: bool) -> Step:
    """Return the figures of the sessions so far."""
    average, last, harmonic = map(_defined, (found.average, found.last, found.harmonic))
    return Step(step, average, last, harmonic, done)


def read_steps(folder: Path) -> list[Step]:
    """Return what a candidate's folder holds; a line that is half written is left out."""
    try:
        whole = Lines(folder / NAME).whole()
    except UserError:
        return []
    found = []
    for line in whole.splitlines():
        try:
            found.append(Step(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return found


class FiguresFile:
    """Appends a candidate's figures to its folder; after a resume none is written twice."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.lines = Lines(self.path)
        # without the half line that a kill may have left
        self.lines.cut(len(self.lines.whole()))
        steps = read_steps(folder)
        self.last = steps[-1].step if steps else 0

    def add(self, step: Step) -> None:
        """Append figures, unless those of this step are there."""
        if step.step > self.last:
            self.last = step.step
            self.lines.append(json.dumps(asdict(step)))


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
