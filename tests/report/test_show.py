"""Tables of one finished run, and runs that cannot be shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.shown_runs import row, shown, write_run

from cl_suite.errors import UserError
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.runs.folder import RunFolder

# one run


def test_a_run_is_shown_session_by_session(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path))
    assert "demo / teen, seed 0" in text
    assert row(text, "0", "1") == ["0", "1", "90.00", "90.00", "-", "-", "-", "1.5", "0.2"]
    assert row(text, "2", "3")[2:7] == ["62.67", "88.00", "50.00", "63.77", "1.00"]


def test_a_run_is_shown_with_its_accuracy_matrix(tmp_path: Path) -> None:
    assert row(shown(write_run(tmp_path)), "2", "88.0") == ["2", "88.0", "50.0", "50.0"]


def test_a_run_is_shown_with_what_it_comes_to(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path))
    assert "average accuracy 74.06 %" in text
    assert "last accuracy    62.67 %" in text
    assert "performance drop 27.33 points" in text
    assert "harmonic mean    63.77 %" in text
    assert "forgetting        1.00 points" in text


def test_the_less_common_figures_are_shown_on_request(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert not any(name in shown(path) for name in ("gAcc", "retention", "BWT"))
    text = shown(path, everything=True)
    assert row(text, "retention")[1] == "69.63"
    assert row(text, "BWT")[1] == "-1.00"
    assert row(text, "gAcc")[1] == "53.69"
    both = shown(path, write_run(tmp_path / "other", seed=1), everything=True)
    assert row(both, "strategy", "seeds", "gAcc") == [
        "strategy",
        "seeds",
        "gAcc",
        "retention",
        "BWT",
        "macro",
    ]


def test_the_macro_average_is_shown_where_classes_differ_in_size(tmp_path: Path) -> None:
    assert "macro" not in shown(write_run(tmp_path / "equal"))
    assert "last, macro" in shown(write_run(tmp_path / "unequal", num_base_images=400))


def test_an_unfinished_run_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path, finished=False))
    assert "unfinished: 3 sessions done" in text


@pytest.mark.parametrize("num_sessions", [1, 9, 11, 16, 17, 51])
def test_everything_fits_into_eighty_columns(tmp_path: Path, num_sessions: int) -> None:
    text = shown(write_run(tmp_path, base_rate=1.0, num_sessions=num_sessions))
    assert max(map(len, text.splitlines())) <= 80
    matrix = text[text.index("of one (column)\n") :]
    cells = row(matrix, "after")[1:]
    assert cells[0] == "0"
    assert cells[-1] == str(num_sessions - 1)
    # no number is broken over two lines
    last = row(matrix, str(num_sessions - 1))
    assert len(last) == len(cells) + 1


# bad input


def test_a_run_without_a_finished_session_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, num_sessions=1)
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"no session of run .* is finished yet"):
        shown(path)


def test_runs_of_which_none_is_finished_are_refused(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, seed=seed, finished=False)
    with pytest.raises(UserError, match="none of these 2 runs is finished"):
        shown(tmp_path)


@pytest.mark.parametrize("name", ["hits.npz", "metrics.jsonl", "config.yaml", "run.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path)
    (path / name).write_bytes(b"\x00{[")
    with pytest.raises(UserError, match=f"{name}' cannot be read"):
        shown(path)


@pytest.mark.parametrize("name", ["hits.npz", "metrics.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = write_run(tmp_path)
    (path / name).unlink()
    with pytest.raises(UserError, match=f"{name}' does not exist"):
        shown(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": "x"}, "seed 'x', not a number"), ({"strategy_name": None}, "no strategy_name")],
)
def test_settings_that_are_no_runs_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write_run(tmp_path)
    config = yaml.safe_load((path / "config.yaml").read_text()) | change
    kept = {key: value for key, value in config.items() if value is not None}
    (path / "config.yaml").write_text(yaml.safe_dump(kept))
    with pytest.raises(UserError, match=message):
        shown(path)


def test_a_run_killed_between_its_two_files_is_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path, num_sessions=3)
    RunFolder(path).write_hits(RunFolder(path).read_hits().until(1))
    assert "last accuracy    69.50 %" in shown(path)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from cl_suite.report.show import print_runs\n"
        f"print_runs([Path({str(path)!r})], Console())\n"
        "print({'torch', 'avalanche'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_probes_have_tables_of_their_own(tmp_path: Path) -> None:
    for strategy in ("teen", "sycon"):
        path = write_run(tmp_path, strategy)
        info = json.loads((path / "run.json").read_text())
        measured = "its classifier" if strategy == "teen" else "a linear probe on its features"
        (path / "run.json").write_text(
            json.dumps(info | {"measured_by": measured, "probes": ["knn"]})
        )
        probe = RunFolder(path).probe("knn")
        probe.make()
        hits = RunFolder(path).read_hits()
        probe.write_hits(Hits(hits.hits // 2, hits.counts, hits.session_of_class))
    alone = shown(tmp_path / "demo/sycon/seed0")
    assert "accuracies are those of a linear probe on its features" in alone
    assert "by a nearest-neighbour probe on its features" in alone
    together = shown(tmp_path)
    for title in (
        "demo\n",
        "demo, by a linear probe on its features",
        "nearest-neighbour probe on",
    ):
        assert title in together
    assert together.count("paired by seed") == 1  # the two strategies by one measure


def test_an_unknown_probe_in_a_run_is_not_looked_for(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(info | {"probes": ["../../x"]}))
    assert "accuracy matrix" in shown(path)
