"""The steps that change what a learner knows, as pure functions of its state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from cl_suite.errors import UserError, suggestion
from cl_suite.learner.answers import Learned
from cl_suite.learner.records import Examples, State, grown, merged, new_rows, with_record
from cl_suite.learner.rule import Rule

LONGEST_LABEL = 200


def started(rule: Rule, found: Mapping[str, Examples]) -> State:
    """Return the state of base classes, to which the rule is fitted.

    Raises:
        UserError: for a class name that is no label, or features that are not finite.
    """
    # a picture counts once, for the rule's fit too
    found = {name: each.select(new_rows(None, each.ids)) for name, each in found.items()}
    labels = [row for row, each in enumerate(found.values()) for _ in range(len(each))]
    features = torch.cat([each.features for each in found.values()])
    _check_finite(features)
    rule.set_up(features, torch.tensor(labels))
    state = State({})
    for name, examples in found.items():
        label = checked_label(name)
        if label in state.records:
            raise UserError(f"two class folders are called '{label}'; rename one of them")
        record = grown(rule, None, examples, is_base=True)
        state = with_record(rule, state, label, record)
    return _noted(state, {"step": "start", "labels": list(found), "pictures": len(labels)})


def taught(rule: Rule, state: State, label: str, examples: Examples) -> tuple[State, Learned]:
    """Return the state with more examples of a class, and what changed; known ones count once.

    Raises:
        UserError: without an example, or if a feature is not finite.
    """
    label = checked_label(label)
    if not len(examples):
        raise UserError(f"no picture of '{label}' was given; name at least one")
    _check_finite(examples.features)
    old = state.records.get(label)
    rows = new_rows(old, examples.ids)
    if rows:
        added = examples.select(rows)
        record = grown(rule, old, added, is_base=False)
        event = {"step": "learn", "label": label, "pictures": [each.hex() for each in added.ids]}
        state = _noted(with_record(rule, state, label, record), event)
    total = state.records[label].count
    return state, Learned(label, old is None, len(rows), len(examples) - len(rows), (), total)


def forgotten(rule: Rule, state: State, label: str) -> State:
    """Return the state without a class, as if it had never been learned.

    Raises:
        UserError: for an unknown label.
    """
    _check_known(state, label)
    return _noted(with_record(rule, state, label, None), {"step": "forget", "label": label})


def renamed(state: State, old: str, new: str) -> State:
    """Return the state with another name for a class.

    Raises:
        UserError: for an unknown label, or a name that another class has.
    """
    new = checked_label(new)
    _check_known(state, old)
    if new in state.records:
        raise UserError(f"label '{new}' names another class already; choose another, or forget one")
    records = {new if label == old else label: record for label, record in state.records.items()}
    event = {"step": "rename", "label": old, "to": new}
    return _noted(dataclasses.replace(state, records=records), event)


def joined(rule: Rule, mine: State, theirs: State) -> State:
    """Return a state that knows what both know; a picture that both know of a class counts once.

    Raises:
        UserError: see `records.merged`.
    """
    state = mine
    for label, record in theirs.records.items():
        own = state.records.get(label)
        both = merged(rule, own, record, label)
        if both is not own:
            state = with_record(rule, state, label, both)
    return _noted(state, {"step": "merge", "labels": list(theirs.records)})


def checked_label(label: str) -> str:
    """Return a label without space around it.

    Raises:
        UserError: for one that is empty, too long, or holds control characters.
    """
    if not isinstance(label, str):
        raise UserError(f"a label must be a text, got a {type(label).__name__}")
    plain = label.strip()
    if not plain or len(plain) > LONGEST_LABEL or not plain.isprintable():
        raise UserError(f"label {plain[:40]!r} must be 1 to {LONGEST_LABEL} printable characters")
    return plain


def _check_known(state: State, label: str) -> None:
    if label not in state.records:
        raise UserError(f"label '{label}' is unknown{suggestion(str(label), state.records)}")


def _check_finite(features: torch.Tensor) -> None:
    if not bool(features.isfinite().all()):
        raise UserError("the backbone's features are not finite; check its weights")


def _noted(state: State, event: Mapping[str, Any]) -> State:
    event = {**event, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    return dataclasses.replace(state, history=(*state.history, event))
