"""A learner's classifier at one moment, as an export needs it."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.learner.calibration import Calibration, calibrated, familiarity
from cl_suite.learner.extractor import Extractor
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table


class Source(Protocol):
    """What is used of a `Learner`."""

    extractor: Extractor
    rule: Rule
    note: str
    false_alarms: float

    def at_rest(self) -> AbstractContextManager[State]: ...


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities `(n, num_classes)`, familiarity `(n,)` and which are unknown `(n,)`."""

    probabilities: Tensor
    familiarity: Tensor
    is_unknown: Tensor


@dataclass(frozen=True, eq=False)
class Frozen:
    """A classifier that no longer changes, on the CPU.

    Attributes:
        extractor: the backbone, shared with the learner.
        rule: a copy, fitted to the state.
        table: keys of the classes.
        calibration: temperature and threshold.
    """

    extractor: Extractor
    rule: Rule
    state: State
    table: Table
    calibration: Calibration
    note: str

    @torch.no_grad()
    def answers(self, prepared: Tensor) -> Answers:
        """Return what the learner answers to prepared pictures `(n, ...)`."""
        features = self.extractor.to_predict(list(prepared))
        queries = self.table.query(features)
        scores = self.table.scores(queries)
        familiar = familiarity(self.rule, queries, scores)
        limit = self.calibration.threshold
        is_unknown = (
            torch.zeros(len(scores), dtype=torch.bool) if limit is None else familiar < limit
        )
        return Answers((self.calibration.scale * scores).softmax(dim=1), familiar, is_unknown)


@torch.no_grad()
def frozen(learner: Source) -> Frozen:
    """Return a learner's classifier as it is now.

    Raises:
        UserError: if it knows no class.
    """
    with learner.at_rest() as state:
        rule = copy.deepcopy(learner.rule)
    if not state.records:
        raise UserError(
            "this classifier knows no class yet, so it cannot be exported; teach it one"
        )
    table = Table(rule, torch.device("cpu"))
    table.follow(state)
    calibration = calibrated(rule, table, state, learner.false_alarms)
    return Frozen(learner.extractor, rule, state, table, calibration, learner.note)
