"""Which recordings are for testing: some takes of every speaker, or some speakers entirely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cl_suite.errors import UserError, suggestion

Split = Literal["take", "speaker"]
SPLITS: tuple[Split, ...] = ("take", "speaker")


@dataclass(frozen=True)
class Recording:
    """One wav file; speaker and take are None where its name says nothing of them."""

    path: Path
    class_name: str
    speaker: str | None
    take: int | None


def held_out(
    recordings: Sequence[Recording],
    split: Split,
    test_fraction: float,
    test_speakers: Sequence[str] | None,
    seed: int,
) -> set[int]:
    """Return which recordings are for testing.

    "speaker" keeps some speakers for testing alone: `test_speakers`, or `test_fraction` of all,
    drawn from `seed`. "take" tests on the first `test_fraction` of the takes of every speaker;
    where names tell no takes, on that part of each class's files, drawn from `seed`.
    """
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    if test_speakers is not None and split != "speaker":
        raise UserError("test_speakers are for split 'speaker'; pass --scenario.split speaker")
    if split == "speaker":
        chosen = set(_speakers(recordings, test_fraction, test_speakers, seed))
        return {row for row, one in enumerate(recordings) if one.speaker in chosen}
    if all(one.take is not None for one in recordings):
        takes = sorted({one.take for one in recordings if one.take is not None})
        first = set(takes[: _share(len(takes), test_fraction)])
        return {row for row, one in enumerate(recordings) if one.take in first}
    rows: dict[str, list[int]] = {}
    for row, one in enumerate(recordings):
        rows.setdefault(one.class_name, []).append(row)
    drawn: set[int] = set()
    for class_id, of_class in enumerate(rows.values()):
        order = np.random.default_rng([seed, class_id]).permutation(len(of_class))
        drawn |= {of_class[i] for i in order[: _share(len(of_class), test_fraction)]}
    return drawn


def _speakers(
    recordings: Sequence[Recording],
    test_fraction: float,
    listed: Sequence[str] | None,
    seed: int,
) -> list[str]:
    for one in recordings:
        if one.speaker is None:
            raise UserError(
                f"recording '{one.path}' does not say who speaks; for the split by speaker a "
                "speaker's name must stand before the first underscore of the file's name"
            )
    known = sorted({one.speaker for one in recordings if one.speaker is not None})
    if len(known) < 2:
        raise UserError(
            f"the only speaker is '{known[0]}'; the split by speaker needs two or more, so pass "
            "--scenario.split take"
        )
    if listed is None:
        order = np.random.default_rng(seed).permutation(len(known))
        return [known[i] for i in order[: _share(len(known), test_fraction)]]
    for name in listed:
        if name not in known:
            raise UserError(
                f"test_speakers names '{name}', who is unknown{suggestion(name, known)}"
            )
    if not 0 < len(set(listed)) < len(known):
        raise UserError(
            f"test_speakers names {len(set(listed))} of {len(known)} speakers; test at least "
            "one and leave one to learn from"
        )
    return list(listed)


def _share(num: int, fraction: float) -> int:
    """Return how many of `num` are for testing: at least one, and all but one at most."""
    return max(1, min(round(num * fraction), num - 1))
