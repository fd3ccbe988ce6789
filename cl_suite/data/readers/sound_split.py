"""Splits recordings into training and test: by takes of every speaker, or by whole speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cl_suite.data.cut import rows_by_key
from cl_suite.data.readers.names import as_text
from cl_suite.errors import UserError, option, suggestion

Split = Literal["take", "speaker"]


@dataclass(frozen=True)
class Recording:
    """One wav file; speaker and take are None if the file name does not contain them."""

    path: Path
    class_name: str
    speaker: str | None
    take: int | None


def held_out(
    recordings: Sequence[Recording],
    split: Split,
    test_fraction: float,
    test_speakers: Sequence[object] | None,
    seed: int,
) -> set[int]:
    """Return the rows of the test recordings.

    "speaker" reserves some speakers for testing: `test_speakers`, or `test_fraction` of all, drawn
    from `seed`. "take" tests on the first `test_fraction` of the takes of every speaker. If file
    names have no take numbers, it draws that share of each class's files from `seed`.
    """
    if test_speakers is not None and split != "speaker":
        raise UserError(
            f"test_speakers needs split 'speaker'; pass {option('scenario.split', 'speaker')}"
        )
    if split == "speaker":
        chosen = set(_speakers(recordings, test_fraction, test_speakers, seed))
        return {row for row, one in enumerate(recordings) if one.speaker in chosen}
    if all(one.take is not None for one in recordings):
        takes = sorted({one.take for one in recordings if one.take is not None})
        first = set(takes[: _share(len(takes), test_fraction)])
        return {row for row, one in enumerate(recordings) if one.take in first}
    rows = rows_by_key([one.class_name for one in recordings])
    drawn: set[int] = set()
    for class_id, of_class in enumerate(rows.values()):
        order = np.random.default_rng([seed, class_id]).permutation(len(of_class))
        drawn |= {of_class[i] for i in order[: _share(len(of_class), test_fraction)]}
    return drawn


def _speakers(
    recordings: Sequence[Recording],
    test_fraction: float,
    given: Sequence[object] | None,
    seed: int,
) -> list[str]:
    for one in recordings:
        if one.speaker is None:
            raise UserError(
                f"recording '{one.path}' has no speaker in its name; the split by speaker needs "
                "the speaker's name before the first underscore of the file name"
            )
    known = sorted({one.speaker for one in recordings if one.speaker is not None})
    if len(known) < 2:
        raise UserError(
            f"the only speaker is '{known[0]}'; the split by speaker needs two or more, so pass "
            f"{option('scenario.split', 'take')}"
        )
    if given is None:
        order = np.random.default_rng(seed).permutation(len(known))
        return [known[i] for i in order[: _share(len(known), test_fraction)]]
    listed = as_text("test_speakers", given, known)
    for name in listed:
        if name not in known:
            raise UserError(
                f"test_speakers names '{name}', which is unknown{suggestion(name, known)}"
            )
    if not 0 < len(set(listed)) < len(known):
        raise UserError(
            f"test_speakers names {len(set(listed))} of {len(known)} speakers; name at least "
            "one and leave at least one to learn from"
        )
    return listed


def _share(num: int, fraction: float) -> int:
    """Return how many of `num` are for testing: at least one, at most all but one."""
    return max(1, min(round(num * fraction), num - 1))
