"""A run in words."""

from __future__ import annotations

import dataclasses

from cl_suite import registry
from cl_suite.data.stream import StreamInfo
from cl_suite.logging.run_card import MOST_ROWS, run_card, session_table
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.folder import SessionRecord

INFO = StreamInfo(
    name="omniglot",
    class_names=tuple("abcdefg"),
    session_classes=((0, 1, 2), (3, 4), (5, 6)),
    way=2,
    shots=5,
    modality="image",
    input_shape=(1, 28, 28),
    train_transform=lambda x: x,
    eval_transform=lambda x: x,
    fingerprint="0123456789abcdef",
)
RECORD = SessionRecord(
    session=0,
    accuracy=0.75,
    base=0.5,
    new=None,
    harmonic=None,
    forgetting=None,
    seconds_train=1.25,
    seconds_eval=0.5,
    seen_classes=3,
    gacc=0.625,
)


def config_of(*arguments: str) -> RunConfig:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "teen")
    (config,), _ = resolve(*pair, ["--device", "cpu", *arguments])
    return config


def test_it_says_what_the_run_is_on_what_and_how_to_repeat_it() -> None:
    text = run_card(config_of("--seed", "2", "--training.lr", "0.5"), INFO)
    assert "omniglot / teen, seed 2" in text
    assert registry.get("strategy", "teen").summary in text
    assert registry.get("scenario", "omniglot").summary in text
    assert "7 classes in 3 sessions: 3 in the base session, 2 in each later one" in text
    assert "5 samples a new class; fingerprint `0123456789ab`" in text
    assert "`training.lr: 0.5`" in text
    assert "    cl-suite run omniglot teen --seed 2 --training.lr=0.5" in text.splitlines()


def test_defaults_are_not_listed() -> None:
    assert "**changed settings** none" in run_card(config_of(), INFO)


def test_sessions_of_several_sizes_have_a_range() -> None:
    several = dataclasses.replace(INFO, session_classes=((0, 1), (2,), (3, 4, 5, 6)), shots=None)
    assert "2 in the base session, 1 to 4 in each later one; fing" in run_card(config_of(), several)


def test_a_run_over_tasks_says_that_the_facts_are_the_first_ones() -> None:
    assert "600 tasks; the first: 7 classes" in run_card(config_of(), INFO, 600)


def test_a_session_is_a_row_with_nothing_where_a_figure_is_undefined() -> None:
    title, _, row = session_table([RECORD]).splitlines()
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        *("0", "3", "75.00", "50.00", "", "", "62.50", "", "1.2 s")
    ]
    assert title.count("|") == row.count("|")


def test_of_very_many_sessions_the_last_are_shown() -> None:
    records = [dataclasses.replace(RECORD, session=number) for number in range(1000)]
    lines = session_table(records).splitlines()
    assert lines[2].startswith("| 900 |")
    assert lines[-1] == f"The last {MOST_ROWS} of 1,000 sessions."
