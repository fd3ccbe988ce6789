"""What a tuning has found: the candidates' figures, the winners, and what they were tuned on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError
from cl_suite.runs.base_classes import in_words
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.sweep.candidates import Candidate
from cl_suite.runs.sweep.spec import Select
from cl_suite.runs.sweep.tuning.figures_file import read_steps
from cl_suite.storage.files import atomic_write

NAME = "tuning.json"  # in a sweep's folder
STOPPED, FINISHED, FAILED = "stopped early", "finished", "failed"
HONESTY = "no test image of the stream and no later session was used"


@dataclass(frozen=True)
class Tried:
    """A candidate and what became of it.

    Attributes:
        values: the values that candidates differ in.
        figure: its last one, a fraction; None if there is none.
        state: finished, stopped early, or failed.
        folder: of its run on the fake stream.
    """

    values: Mapping[str, Any]
    figure: float | None
    state: str
    folder: str


@dataclass(frozen=True)
class Outcome:
    """The choice for one scenario and strategy.

    Attributes:
        figure: name of the figure that chose.
        digest: of everything that the choice depends on.
        tuned_on: a sentence.
    """

    scenario: str
    strategy: str
    figure: str
    chosen: Mapping[str, Any]
    tuned_on: str
    candidates: Sequence[Tried]
    digest: str

    @property
    def sentence(self) -> str:
        """What was chosen, how, and on what."""
        return f"{self.choice}. Tuned on {self.tuned_on}; {HONESTY}."

    @property
    def choice(self) -> str:
        """What was chosen, and how."""
        values = ", ".join(f"{name} {value}" for name, value in self.chosen.items())
        best = next(each for each in self.candidates if each.values == self.chosen)
        states = [each.state for each in self.candidates]
        stopped = f", {states.count(STOPPED)} of them stopped early" if STOPPED in states else ""
        failed = f", {states.count(FAILED)} failed" if FAILED in states else ""
        figure = f"{100 * best.figure:.2f} %" if best.figure is not None else "-"
        return (
            f"{self.scenario} / {self.strategy}: chose {values} among {len(states)} candidates"
            f"{stopped}{failed} by {self.figure} ({figure})"
        )


def tried(candidate: Candidate, folder: Path, figure: str, failed: bool) -> Tried:
    """Return what a candidate's folder tells; its figure is the last that is defined."""
    steps = read_steps(folder)
    known = [value for step in steps if (value := step.figure(figure)) is not None]
    done = bool(steps) and steps[-1].done
    state = FINISHED if done else FAILED if failed else STOPPED
    return Tried(dict(candidate.varied), known[-1] if known else None, state, str(folder))


def choose(
    candidates: Sequence[Candidate], found: Sequence[Tried], select: Select, digest: str
) -> Outcome:
    """Return the choice: the best figure of those that finished, the first of equals.

    Raises:
        UserError: if none has finished.
    """
    first = candidates[0]
    finished = [each for each in found if each.state == FINISHED and each.figure is not None]
    if not finished:
        raise UserError(
            f"no candidate of '{first.strategy}' on '{first.scenario}' has finished with a figure "
            f"'{select.figure}', so none can be chosen; see the logs in '{found[0].folder}'"
        )
    best = max(finished, key=lambda each: each.figure or 0.0)
    return Outcome(
        scenario=first.scenario,
        strategy=first.strategy,
        figure=select.figure,
        chosen=dict(best.values),
        tuned_on=_tuned_on(RunFolder(Path(best.folder))),
        candidates=list(found),
        digest=digest,
    )


def digest_of(candidates: Sequence[Candidate], select: Select) -> str:
    """Return a digest of everything that a choice depends on."""
    content = [asdict(select), [[c.scenario, c.strategy, dict(c.given)] for c in candidates]]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_outcomes(out: Path) -> dict[str, Outcome]:
    """Return the choices that a sweep's folder holds, by digest; none if they cannot be read."""
    try:
        content = json.loads((out / NAME).read_text("utf-8"))
        return {str(each["digest"]): _outcome(each) for each in content["choices"]}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def write_outcomes(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the choices into a sweep's folder."""
    choices = [{"sentence": each.sentence, **asdict(each)} for each in outcomes]
    content = {"test_data": HONESTY, "choices": choices}
    atomic_write(out / NAME, f"{json.dumps(content, indent=2, default=str)}\n".encode())


def _tuned_on(folder: RunFolder) -> str:
    stream = folder.read_run_info()["stream"]
    num_test = int(folder.read_hits().counts.sum())
    return in_words(stream["session_classes"], stream["shots"], num_test)


def _outcome(content: Mapping[str, Any]) -> Outcome:
    plain = {name: value for name, value in content.items() if name != "sentence"}
    return Outcome(**plain | {"candidates": [Tried(**each) for each in content["candidates"]]})
