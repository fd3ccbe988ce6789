"""The choice among candidates, and the files that tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_suite.errors import UserError
from cl_suite.runs.sweep.candidates import Candidate
from cl_suite.runs.sweep.needs import Needs
from cl_suite.runs.sweep.spec import Select
from cl_suite.runs.sweep.tuning import outcome
from cl_suite.runs.sweep.tuning.figures_file import FiguresFile, Step, read_steps
from cl_suite.runs.sweep.tuning.outcome import FAILED, FINISHED, STOPPED, Outcome, Tried


def candidate(rate: float) -> Candidate:
    values = {"training.lr": rate}
    return Candidate("omniglot", "teen", values, values, Needs())


def found(*figures: tuple[float | None, str]) -> list[Tried]:
    return [
        Tried({"training.lr": float(i)}, figure, state, f"folder{i}")
        for i, (figure, state) in enumerate(figures)
    ]


@pytest.fixture(autouse=True)
def _any_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "_tuned_on", lambda folder: "fake sessions")


def choose(tried: list[Tried]) -> Outcome:
    candidates = [candidate(float(i)) for i in range(len(tried))]
    return outcome.choose(candidates, tried, Select(), "digest")


def test_the_best_of_the_finished_ones_is_chosen() -> None:
    """A figure of a stopped candidate is another one, of the middle of its base session."""
    best = choose(found((0.9, STOPPED), (0.3, FINISHED), (0.5, FINISHED), (None, FAILED)))
    assert best.chosen == {"training.lr": 2.0}
    assert "chose training.lr 2.0 among 4 candidates, 1 of them stopped early, 1 failed" in (
        best.sentence
    )
    assert "no test image of the stream and no later session was used" in best.sentence


def test_the_first_of_equals_is_chosen() -> None:
    assert choose(found((0.5, FINISHED), (0.5, FINISHED))).chosen == {"training.lr": 0.0}


def test_no_choice_is_made_if_none_has_finished() -> None:
    with pytest.raises(UserError, match="so none can be chosen"):
        choose(found((0.5, STOPPED), (None, FAILED)))


def test_a_choice_is_read_back(tmp_path: Path) -> None:
    made = choose(found((0.5, FINISHED), (0.4, STOPPED)))
    outcome.write_outcomes(tmp_path, [made])
    assert outcome.read_outcomes(tmp_path) == {"digest": made}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"choices": [{}]}', '{"choices": 3}'])
def test_a_damaged_file_of_choices_counts_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / outcome.NAME).write_text(text)
    assert outcome.read_outcomes(tmp_path) == {}


def test_another_candidate_or_another_figure_asks_for_another_choice() -> None:
    first = [candidate(0.1), candidate(0.2)]
    digests = {
        outcome.digest_of(first, Select()),
        outcome.digest_of([*first, candidate(0.3)], Select()),
        outcome.digest_of(first, Select(figure="last")),
    }
    assert len(digests) == 3
    assert outcome.digest_of([candidate(0.1), candidate(0.2)], Select()) in digests


def test_figures_of_a_resumed_candidate_come_once(tmp_path: Path) -> None:
    first = FiguresFile(tmp_path)
    first.add(Step(1, 0.5, 0.4, None))
    first.add(Step(2, 0.6, 0.5, 0.3))
    with first.path.open("a") as file:
        file.write('{"step": 3, "aver')  # killed in the middle of a line
    again = FiguresFile(tmp_path)
    again.add(Step(2, 0.9, 0.9, 0.9))
    again.add(Step(3, 0.7, 0.6, 0.5, done=True))
    assert [(step.step, step.average) for step in read_steps(tmp_path)] == [
        (1, 0.5),
        (2, 0.6),
        (3, 0.7),
    ]


def test_the_score_is_the_mean_of_average_and_harmonic() -> None:
    assert Step(1, 0.6, 0.5, 0.4).figure("score") == pytest.approx(0.5)
    assert Step(1, 0.6, 0.5, None).figure("score") is None
    assert Step(1, 0.6, 0.5, None).figure("last") == 0.5
