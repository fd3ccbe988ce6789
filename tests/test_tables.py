"""The runs behind the README's tables: each command of `benchmarks/tables.sh` can be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cl_suite import registry
from cl_suite.runs.config import resolve

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks/tables.sh"
TABLES = re.findall(r"^table_(\w+)\(\)", SCRIPT.read_text("utf-8"), re.MULTILINE)
RECORDER = '#!/bin/sh\nprintf "%s\\0" "$@" >> "$CALLS"; printf "\\n\\0" >> "$CALLS"\n'

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")


def calls_of(arguments: list[str], folder: Path) -> list[list[str]]:
    """Return the arguments of each call of `cl-suite` that the script makes."""
    recorder, log = folder / "cl-suite", folder / "calls"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    places = {"SPOKEN_DIGITS": "digits", "MINI_IMAGENET": "images", "DEIT_TINY": "deit.safetensors"}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        check=True,
        env={**os.environ, **places, "PATH": path, "CALLS": str(log), "OUT": str(folder / "runs")},
    )
    return [call.split("\0")[:-1] for call in log.read_text("utf-8").split("\n\0")[:-1]]


@pytest.mark.parametrize("table", TABLES)
def test_every_run_of_a_table_is_one_that_the_command_line_takes(
    table: str, tmp_path: Path
) -> None:
    calls = calls_of([table, "--seed", "7"], tmp_path)
    runs = [call for call in calls if call[0] == "run"]
    assert len(runs) >= 3
    for _, scenario, strategy, *options in runs:
        pair = registry.get("scenario", scenario), registry.get("strategy", strategy)
        configs, given = resolve(*pair, options)
        assert [config.seed for config in configs] == [7]  # what follows the name wins
        assert given.out.is_relative_to(tmp_path / "runs" / table)
    shown = {Path(call[1]) for call in calls if call[0] == "show"}
    assert len(shown) >= 3


def test_a_table_that_is_unknown_is_refused_with_those_that_are_there() -> None:
    found = subprocess.run(["bash", str(SCRIPT), "no"], capture_output=True, text=True)
    assert found.returncode == 2
    assert set(TABLES) <= set(found.stderr.split())
