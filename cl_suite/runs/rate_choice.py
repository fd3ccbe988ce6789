"""The learning rate that a run chooses by itself (`training.lr: auto`): the rule, and its record.

`rate_trials` makes the figures. A rate is compared with no tuning at all on the same samples, so
what counts is how many samples change sides. The best rate is taken if it gains more than two
standard errors of its gain; otherwise the network stays as it is. Of equal candidates the one with
the smaller rate wins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_suite.engine.training import TrainingConfig

NONE = 0.0  # the rate of a network that is not tuned
LEAST_ERRORS = 2.0  # standard errors by which a rate must gain
RATES: Mapping[str, tuple[float, ...]] = {
    "sgd": (0.003, 0.01, 0.03, 0.1),
    "adamw": (0.00003, 0.0001, 0.0003, 0.001),
    "lion": (0.00001, 0.00003, 0.0001, 0.0003),
    "lars": (0.03, 0.1, 0.3, 1.0),
}


@dataclass(frozen=True)
class Trial:
    """One candidate on one fake stream.

    Attributes:
        hits: whether each test sample is recognised after the last session, `(n,)` of 0 and 1.
        is_base: whether the sample belongs to a class that plays a base class, `(n,)`.
    """

    hits: Tensor
    is_base: Tensor


@dataclass(frozen=True)
class Candidate:
    """A rate's figures, averaged over the fake streams it was tried on; fractions.

    Attributes:
        rate: the rate; 0 for no tuning.
        streams: number of fake streams.
        base, new: accuracy of the classes that play base and new ones, after the last session.
        score: both, weighed as in the run's own stream.
        gain: score minus that of no tuning on the same fake streams.
        error: standard error of the gain.
    """

    rate: float
    streams: int
    base: float
    new: float
    score: float
    gain: float
    error: float


@dataclass(frozen=True)
class RateChoice:
    """A choice and what it rests on.

    Attributes:
        rate: the chosen rate; 0 for no tuning.
        candidates: what was compared, by ascending rate; nothing if that was not possible.
        epochs: epochs of each trial's base session.
        passes: images that went through the network.
        seconds: what the choice took.
        reason: why nothing could be compared; "" if it could.
    """

    rate: float
    candidates: tuple[Candidate, ...] = ()
    epochs: int = 0
    passes: int = 0
    seconds: float = 0.0
    reason: str = ""

    def applied(self, training: TrainingConfig) -> TrainingConfig:
        """Return the recipe with this rate; without tuning, sessions of this rate do not train."""
        if self.rate != NONE:
            return dataclasses.replace(training, lr=self.rate)
        later = training.epochs(1)
        return dataclasses.replace(
            training,
            lr=RATES[training.optimizer][0],  # no step is taken with it
            base_epochs=0,
            incremental_epochs=0 if training.incremental_lr is None else later,
        )

    def lines(self) -> list[str]:
        """Return the choice and its figures to print."""
        if not self.candidates:
            return [f"learning rate: {self.rate:g}, the lowest, as {self.reason}"]
        lines = ["  rate     streams   base    new  score   gain (standard error)"]
        for each in self.candidates:
            name = "none" if each.rate == NONE else f"{each.rate:g}"
            line = (
                f"  {name:8}{each.streams:8}{100 * each.base:7.1f}{100 * each.new:7.1f}"
                f"{100 * each.score:7.1f}"
            )
            if each.rate != NONE:
                line += f"{100 * each.gain:+7.1f} ({100 * each.error:.1f})"
            lines.append(line)
        return [*lines, self._verdict()]

    def _verdict(self) -> str:
        cost = f"{self.passes:,} image passes, {self.seconds:.0f} s"
        if self.rate != NONE:
            return f"learning rate: {self.rate:g} ({cost})"
        return (
            "learning rate: none, because no rate gains more than two standard errors; the base "
            f"session keeps the network as it is ({cost})"
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the choice as plain values, for `run.json` and the checkpoint."""
        plain = dataclasses.asdict(self)
        return plain | {"candidates": [dataclasses.asdict(each) for each in self.candidates]}

    @classmethod
    def from_plain(cls, tree: object) -> RateChoice:
        """Return the choice that `to_plain` described.

        Raises:
            ValueError: if it is none.
        """
        try:
            fields = dict(tree)  # type: ignore[call-overload]  # checked by what follows
            candidates = tuple(Candidate(**each) for each in fields.pop("candidates"))
            choice = cls(**fields, candidates=candidates)
            numbers = [choice.rate, *(each.rate for each in candidates)]
            if not all(math.isfinite(number) and number >= 0 for number in numbers):
                raise ValueError("a rate is not a number")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"not a choice of a learning rate ({error})") from error
        return choice


def compared(trials: Mapping[float, Sequence[Trial]], base_share: float) -> list[Candidate]:
    """Return the figures of each rate, by ascending rate.

    Args:
        trials: of each rate, on the first fake streams; of no tuning, on all of them.
        base_share: weight of the base classes; the new ones have the rest.
    """
    return [_candidate(rate, trials[rate], trials[NONE], base_share) for rate in sorted(trials)]


def best_rates(candidates: Sequence[Candidate], num: int) -> list[float]:
    """Return the rates of the best candidates, no tuning left out; of equals, the smaller rates."""
    rates = [each for each in candidates if each.rate != NONE]
    rates.sort(key=lambda each: (-each.gain, each.rate))
    return sorted(each.rate for each in rates[:num])


def decide(candidates: Sequence[Candidate]) -> float:
    """Return the rate to use; only candidates on as many streams as no tuning take part."""
    (untuned,) = [each for each in candidates if each.rate == NONE]
    finalists = [each for each in candidates if each.streams == untuned.streams]
    ((rate),) = best_rates(finalists, 1) or [NONE]
    (best,) = [each for each in candidates if each.rate == rate]
    return rate if best.gain > LEAST_ERRORS * best.error else NONE


def _candidate(
    rate: float, own: Sequence[Trial], untuned: Sequence[Trial], base_share: float
) -> Candidate:
    num = len(own)
    base = sum(float(trial.hits[trial.is_base].mean()) for trial in own) / num
    new = sum(float(trial.hits[~trial.is_base].mean()) for trial in own) / num
    changes = torch.cat(
        [
            _weights(mine, base_share) * (mine.hits - other.hits)
            for mine, other in zip(own, untuned[:num], strict=True)
        ]
    )
    return Candidate(
        rate=rate,
        streams=num,
        base=base,
        new=new,
        score=base_share * base + (1 - base_share) * new,
        gain=float(changes.sum()) / num,
        error=float(changes.square().sum().sqrt()) / num,
    )


def _weights(trial: Trial, base_share: float) -> Tensor:
    """Return each test sample's share of the score, `(n,)`; they sum to 1."""
    num_base = trial.is_base.sum()
    each_base, each_new = base_share / num_base, (1 - base_share) / (~trial.is_base).sum()
    return torch.where(trial.is_base, each_base, each_new).double()
