"""Class records: the sufficient statistics of each class, and the pure steps that change them.

Nothing here depends on the order in which pictures came: sums are exact (see `Rule.averaged`),
identities are sorted, and of many examples those with the smallest identities are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.learner.rule import Rule

MOST_KEPT = 32  # examples of a class of more; they calibrate probabilities and illustrate


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures as the backbone sees them.

    Attributes:
        features: `(n, dim)` float32, on the CPU.
        ids: identity of each picture: equal for equal pictures.
        thumbnails: a small JPEG of each, b"" for none.
    """

    features: Tensor
    ids: tuple[bytes, ...]
    thumbnails: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int]) -> Examples:
        """Return some of them, in this order."""
        index = torch.tensor(list(rows), dtype=torch.long)
        return Examples(
            self.features[index],
            tuple(self.ids[row] for row in rows),
            tuple(self.thumbnails[row] for row in rows),
        )

    def joined(self, other: Examples) -> Examples:
        """Return both, these first."""
        return Examples(
            torch.cat([self.features, other.features]),
            self.ids + other.ids,
            self.thumbnails + other.thumbnails,
        )

    def by_identity(self, most: int | None = None) -> Examples:
        """Return them in the order of their identities; only the first `most`."""
        rows = sorted(range(len(self)), key=lambda row: self.ids[row])[:most]
        return self if rows == list(range(len(self))) else self.select(rows)


@dataclass(frozen=True, eq=False)
class ClassRecord:
    """What is known of a class.

    Attributes:
        is_base: whether it belongs to the base session, which others may be calibrated by.
        total: `(width,)` sum of what the rule averages, float64.
        ids: identities of all its pictures, sorted.
        kept: all its examples, or the `MOST_KEPT` with the smallest identities.
        moment: `(width, width)` second moment about zero, float64, if the rule pools moments and
            this is smaller than all examples; else None.
    """

    is_base: bool
    total: Tensor
    ids: tuple[bytes, ...]
    kept: Examples
    moment: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class State:
    """All that a learner knows; a step makes a new one.

    Attributes:
        records: by label, in order of arrival.
        pooled: `(width, width)` sum of the classes' shares, if the rule pools moments.
        history: what happened, oldest first: plain values.
    """

    records: Mapping[str, ClassRecord]
    pooled: Tensor | None = None
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def freedom(self) -> float:
        """Number of samples less the number of classes."""
        return float(sum(record.count - 1 for record in self.records.values()))


def most_complete(rule: Rule) -> int:
    """Return up to how many examples all of a class's are kept."""
    if not rule.pools_moments:
        return MOST_KEPT
    # in bytes: a symmetric matrix of float64 against features of float32
    return max(MOST_KEPT, rule.width * (rule.width + 1) // rule.dim)


def new_rows(record: ClassRecord | None, ids: Sequence[bytes]) -> list[int]:
    """Return the positions of pictures that the class does not know, each picture once."""
    known = set(record.ids) if record is not None else set()
    rows = []
    for row, identity in enumerate(ids):
        if identity not in known:
            known.add(identity)
            rows.append(row)
    return rows


def grown(
    rule: Rule, record: ClassRecord | None, examples: Examples, *, is_base: bool
) -> ClassRecord:
    """Return the record of a class, None if it is new, with more examples, all of them unknown."""
    examples = examples.by_identity()
    averaged = rule.averaged(examples.features)
    if record is None:
        total = torch.zeros(rule.width, dtype=torch.float64)
        record = ClassRecord(is_base, total, (), examples.select([]))
    ids = tuple(sorted(record.ids + examples.ids))
    kept = record.kept.joined(examples)
    moment = record.moment
    if len(ids) > most_complete(rule):
        if rule.pools_moments:
            # those of before are all still kept when the limit is first passed
            moment = averaged.T @ averaged + (
                _moment(rule, record.kept.features) if moment is None else moment
            )
        kept = kept.by_identity(MOST_KEPT)
    return ClassRecord(
        record.is_base, record.total + averaged.sum(0), ids, kept.by_identity(), moment
    )


def without(rule: Rule, record: ClassRecord, ids: Sequence[bytes]) -> ClassRecord | None:
    """Return a class's record without some pictures, all of them kept; None if none is left.

    Raises:
        LookupError: if one of them is not kept, so what to subtract is unknown.
    """
    place = {identity: row for row, identity in enumerate(record.kept.ids)}
    rows = [place[identity] for identity in ids]
    gone = set(ids)
    left = tuple(identity for identity in record.ids if identity not in gone)
    if not left:
        return None
    averaged = rule.averaged(record.kept.features[rows])
    kept = record.kept.select([r for r, i in enumerate(record.kept.ids) if i not in gone])
    moment = None if record.moment is None else record.moment - averaged.T @ averaged
    return dataclasses.replace(
        record, total=record.total - averaged.sum(0), ids=left, kept=kept, moment=moment
    )


def merged(rule: Rule, mine: ClassRecord | None, theirs: ClassRecord, label: str) -> ClassRecord:
    """Return the record of a class that two learners know; a picture that both know counts once.

    Raises:
        UserError: if both know pictures that neither has kept the features of all.
    """
    if mine is None:
        return theirs
    common = sorted(set(mine.ids) & set(theirs.ids))
    is_base = mine.is_base
    if not set(common) <= set(theirs.kept.ids):
        if not set(common) <= set(mine.kept.ids):
            raise UserError(
                f"both learners know {len(common)} of the same pictures of '{label}', and have "
                "kept too few of their features to count these once; teach them to one learner "
                "alone"
            )
        mine, theirs = dataclasses.replace(theirs, is_base=is_base), mine
    rest = without(rule, theirs, common) if common else theirs
    if rest is None:
        return mine
    if rest.count == len(rest.kept):
        return grown(rule, mine, rest.kept, is_base=mine.is_base)
    if mine.count == len(mine.kept):
        whole = grown(rule, rest, mine.kept, is_base=mine.is_base)
        return dataclasses.replace(whole, is_base=mine.is_base)
    kept = mine.kept.joined(rest.kept).by_identity(MOST_KEPT)
    moment = None
    if mine.moment is not None and rest.moment is not None:
        moment = mine.moment + rest.moment
    ids = tuple(sorted(mine.ids + rest.ids))
    return ClassRecord(mine.is_base, mine.total + rest.total, ids, kept, moment)


def share(rule: Rule, record: ClassRecord) -> Tensor:
    """Return what a class adds to the pooled matrix, `(width, width)` in float64."""
    moment = record.moment
    if moment is None:
        moment = _moment(rule, record.kept.features)
    return rule.share(record.total, record.count, moment)


def with_record(rule: Rule, state: State, label: str, record: ClassRecord | None) -> State:
    """Return the state with another record of a class, or without the class."""
    records = dict(state.records)
    old = records.get(label)
    pooled = state.pooled
    if rule.pools_moments:
        pooled = torch.zeros(rule.width, rule.width).double() if pooled is None else pooled
        if old is not None:
            pooled = pooled - share(rule, old)
        if record is not None:
            pooled = pooled + share(rule, record)
    if record is None:
        del records[label]
    else:
        records[label] = record
    return State(records, pooled if records else None, state.history)


def _moment(rule: Rule, features: Tensor) -> Tensor:
    averaged = rule.averaged(features)
    return averaged.T @ averaged
