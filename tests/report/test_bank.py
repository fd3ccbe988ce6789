"""`cl-suite bank`, and the bank in a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from cl_suite.cli import main
from cl_suite.features import bank_store
from cl_suite.report.bank import readable
from cl_suite.runs.folder import RunFolder

RUN = [
    "run",
    "omniglot",
    "prototype",
    "--scenario.base_classes",
    "12",
    "--scenario.way",
    "115",
    "--training.base_epochs",
    "0",
    "--model.frozen",
    "true",
    "--device",
    "cpu",
]


def test_an_empty_bank_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bank", "ls"]) == 0
    assert "0 entries, 0 bytes" in capsys.readouterr().out


def test_a_frozen_run_fills_the_bank_and_another_one_reads_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(RUN) == 0
    first = capsys.readouterr().out
    assert "0 of 111,936 parameters are trained" in first
    assert re.search(r"features of [\d,]+ images computed", first)
    assert main([*RUN, "--out", "again"]) == 0
    assert "images computed" not in capsys.readouterr().out
    folders = [
        RunFolder(here / out / "omniglot" / "prototype" / "seed0") for out in ("runs", "again")
    ]
    hits = [folder.read_hits().hits for folder in folders]
    assert (hits[0] == hits[1]).all()
    assert main(["bank", "ls"]) == 0
    listed = capsys.readouterr().out
    assert "1 entry" in listed
    assert "float32" in listed
    name = bank_store.entries(bank_store.default_folder())[0].name
    assert main(["bank", "clear", name]) == 0
    assert "freed in" in capsys.readouterr().out
    assert bank_store.entries(bank_store.default_folder()) == []


def test_runs_with_and_without_the_bank_share_a_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = [word for word in RUN if word not in ("--model.frozen", "true")]
    assert main(RUN) == 0
    assert main([*trained, "--out", "trained"]) == 0
    capsys.readouterr()
    assert main(["show", "runs", "trained"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("seeds average") == 1
    assert "data=" not in shown
    assert "prototype #2" in shown


def test_clearing_an_unknown_entry_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bank", "clear", "nonsense-1"]) == 2
    assert "has no entry 'nonsense-1'; see `cl-suite bank ls`" in capsys.readouterr().err


def test_views_and_other_number_types_can_be_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # drawn characters are not mirror-symmetric, so a view without a flip
    views = ["--model.bank_views", "[corners]", "--model.bank_dtype", "float16"]
    assert main([*RUN, *views]) == 0
    entries = bank_store.entries(bank_store.default_folder())
    assert len(entries) == 6
    assert {entry.dtype for entry in entries} == {"float16"}
    assert "6 views replace it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.frozen", "false", "--model.bank", "true"], "nothing is frozen"),
        (["--model.bank_dtype", "int8"], "bank_dtype"),
        (["--model.trained_blocks", "9", "--model.frozen", "false"], "trained_blocks must lie in"),
        (["--model.preprocessing", "backbone"], "does not define its preprocessing"),
    ],
)
def test_a_bank_that_cannot_be_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([*RUN, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "runs").exists()


def test_a_frozen_prefix_can_be_banked_and_trained_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = ["--model.frozen", "false", "--model.trained_blocks", "1", "--model.bank", "true"]
    assert main([*RUN, *prefix, "--training.base_epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "37,056 of 111,936 parameters are trained" in out
    entry = bank_store.entries(bank_store.default_folder())[0]
    assert entry.dim == 64 * 3 * 3
    assert torch.isfinite(
        torch.tensor(RunFolder(here / "runs/omniglot/prototype/seed0").read_metrics()[-1].accuracy)
    )


def test_sizes_are_readable() -> None:
    assert [readable(n) for n in (5, 1_500, 2_340_000_000)] == ["5 bytes", "1.5 kB", "2.3 GB"]
