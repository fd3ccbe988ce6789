"""The rule that chooses a learning rate, by hand-worked hits, and its record."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.runs.rate_choice import (
    NONE,
    Candidate,
    RateChoice,
    Trial,
    best_rates,
    compared,
    decide,
)


def trial(base: str, new: str) -> Trial:
    """Return a trial from its hits, written as 0 and 1."""
    hits = torch.tensor([int(hit) for hit in base + new], dtype=torch.float64)
    return Trial(hits, torch.arange(len(hits)) < len(base))


def test_figures_by_hand() -> None:
    trials = {NONE: [trial("10", "1000")], 0.1: [trial("11", "0110")]}
    untuned, tuned = compared(trials, base_share=0.5)
    assert (untuned.base, untuned.new, untuned.score) == (0.5, 0.25, 0.375)
    assert (tuned.base, tuned.new, tuned.score) == (1.0, 0.5, 0.75)
    assert tuned.gain == pytest.approx(0.375)
    # one base sample of weight 1/4 and three new ones of 1/8 change sides
    assert tuned.error == pytest.approx((1 / 16 + 3 / 64) ** 0.5)
    assert untuned.gain == untuned.error == 0


def test_a_rate_is_compared_on_its_own_fake_streams() -> None:
    trials = {NONE: [trial("1", "1"), trial("0", "0")], 0.1: [trial("1", "1")]}
    _, tuned = compared(trials, base_share=0.3)
    assert (tuned.streams, tuned.gain) == (1, 0)


def candidate(rate: float, gain: float, error: float = 0.01, streams: int = 3) -> Candidate:
    return Candidate(rate, streams, 0.5, 0.5, 0.5 + gain, gain, error)


@pytest.mark.parametrize(
    ("candidates", "rate"),
    [
        ([candidate(0.01, 0.2), candidate(0.1, 0.3)], 0.1),
        ([candidate(0.01, 0.3), candidate(0.1, 0.3)], 0.01),  # of equals, the smaller change
        ([candidate(0.01, 0.05, error=0.03)], NONE),  # chance explains the gain
        ([candidate(0.01, 0.07, error=0.03)], 0.01),
        ([candidate(0.01, -0.2), candidate(0.1, -0.3)], NONE),
        ([candidate(0.01, 0.0, error=0.0)], NONE),  # a tie goes to no tuning
        ([candidate(0.01, 0.2), candidate(0.1, 0.9, streams=1)], 0.01),  # no finalist
    ],
)
def test_the_rule(candidates: list[Candidate], rate: float) -> None:
    assert decide([candidate(NONE, 0.0, error=0.0), *candidates]) == rate


def test_finalists_are_the_best_rates() -> None:
    found = [candidate(NONE, 0.0), candidate(0.01, 0.1), candidate(0.03, 0.3), candidate(0.1, 0.1)]
    assert best_rates(found, 2) == [0.01, 0.03]


def test_a_rate_changes_only_the_rate() -> None:
    recipe = TrainingConfig(lr="auto", base_epochs=7)
    assert RateChoice(0.03).applied(recipe) == TrainingConfig(lr=0.03, base_epochs=7)


@pytest.mark.parametrize(
    ("incremental_lr", "incremental_epochs", "later"),
    [(0.01, 3, 3), (0.01, None, 7), (None, 3, 0), (None, None, 0)],
)
def test_without_tuning_no_session_of_that_rate_trains(
    incremental_lr: float | None, incremental_epochs: int | None, later: int
) -> None:
    recipe = TrainingConfig(
        lr="auto",
        base_epochs=7,
        incremental_epochs=incremental_epochs,
        incremental_lr=incremental_lr,
    )
    applied = RateChoice(NONE).applied(recipe)
    assert (applied.epochs(0), applied.epochs(1)) == (0, later)


def test_the_record_survives_json() -> None:
    choice = RateChoice(0.03, (candidate(NONE, 0.0), candidate(0.03, 0.1)), 5, 1200, 3.5)
    assert RateChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice


@pytest.mark.parametrize(
    "tree", [None, 3, {}, {"rate": "x", "candidates": []}, {"rate": -1.0, "candidates": []}]
)
def test_another_record_is_refused(tree: object) -> None:
    with pytest.raises(ValueError, match="not a choice of a learning rate"):
        RateChoice.from_plain(tree)


def test_the_table_says_what_won_and_what_it_cost() -> None:
    found = (candidate(NONE, 0.0), candidate(0.03, 0.1, error=0.02))
    _, untuned, tuned, verdict = RateChoice(0.03, found, 5, 1200, 3.5).lines()
    assert untuned.split() == ["none", "3", "50.0", "50.0", "50.0"]
    assert tuned.split() == ["0.03", "3", "50.0", "50.0", "60.0", "+10.0", "(2.0)"]
    assert verdict == "learning rate: 0.03 (1,200 image passes, 4 s)"
    assert "keeps the network as it is" in RateChoice(NONE, found).lines()[-1]


def test_a_program_without_a_run_is_told_to_pass_a_number() -> None:
    with pytest.raises(UserError, match="pass a number"):
        TrainingConfig(lr="auto").learning_rate(0)


def test_the_range_of_numbers_is_still_checked() -> None:
    with pytest.raises(UserError, match=r"training\.lr must be above 0"):
        TrainingConfig(lr=0)
    with pytest.raises(UserError, match=r"training\.lr must be a number"):
        TrainingConfig(lr="much")  # type: ignore[arg-type]  # on purpose


def test_chance_alone_seldom_chooses_a_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    rates, is_base = (0.003, 0.01, 0.03, 0.1), torch.arange(36) < 21

    def hits(before: Tensor | None = None) -> Tensor:
        """Return hits at 70 %; those of a tuned network differ from `before` by chance alone."""
        found = torch.rand(36, generator=generator) < 0.7
        if before is None:
            return found
        return torch.where(torch.rand(36, generator=generator) < 0.4, found, before)

    def choice() -> float:
        found: dict[float, list[Trial]] = {rate: [] for rate in (NONE, *rates)}
        going_on = list(rates)
        for number in range(3):
            untuned = hits()
            found[NONE].append(Trial(untuned.double(), is_base))
            for rate in going_on:
                found[rate].append(Trial(hits(untuned).double(), is_base))
            if number == 0:
                going_on = best_rates(compared(found, 0.4), 2)
        return decide(compared(found, 0.4))

    draws = 300
    assert sum(choice() != NONE for _ in range(draws)) < 0.12 * draws
