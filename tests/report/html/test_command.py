"""The command `cl-suite report`: its files, its output and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.reports import write_pair
from helpers.shown_runs import write_run
from helpers.tiny_runs import refused

from cl_suite.cli import main


def test_a_page_is_written_and_its_file_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(here / "runs")
    assert main(["report", "runs"]) == 0
    assert capsys.readouterr().out == "report: report.html\n"
    assert (here / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_page_that_exists_is_replaced(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs")
    out = tmp_path / "x.html"
    out.write_text("old")
    assert main(["report", str(tmp_path / "runs"), "-o", str(out)]) == 0
    assert "old" not in out.read_text("utf-8")[:100]
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "x.html"}


def test_a_page_stays_as_it_was_if_a_run_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "runs")
    (run / "hits.npz").write_bytes(b"\x00")
    out = tmp_path / "x.html"
    out.write_text("old")
    assert "hits.npz' cannot be read" in refused(capsys, "report", str(run), "-o", str(out))
    assert out.read_text() == "old"


@pytest.mark.parametrize(("format", "start"), [("md", "## "), ("csv", "scen"), ("latex", "% ")])
def test_tables_go_to_the_terminal_or_to_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, start: str
) -> None:
    write_pair(tmp_path / "runs")
    words = ["report", str(tmp_path / "runs"), "--format", format]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(start)
    assert main([*words, "-o", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x").read_text("utf-8") == printed


def test_a_terminal_without_unicode_is_served(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs")
    command = [sys.executable, "-m", "cl_suite.cli", "report", str(tmp_path / "runs")]
    done = subprocess.run(
        [*command, "--format", "md"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert b"| teen |" in done.stdout


def test_an_unfinished_run_alone_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs", finished=False)
    out = tmp_path / "x.html"
    assert main(["report", str(run), "-o", str(out)]) == 0
    assert "is unfinished: 3 sessions done" in out.read_text("utf-8")


def test_of_several_runs_the_unfinished_ones_are_left_out_and_told(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", seed=0)
    write_run(tmp_path / "runs", "joint", finished=False)
    out = tmp_path / "x.html"
    assert main(["report", str(tmp_path / "runs"), "-o", str(out)]) == 0
    text = out.read_text("utf-8")
    assert "joint/seed0&#39; is unfinished" in text
    assert "1 method, 1 run, 1 scenario" in text


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_run(tmp_path / "runs"))
    missing = str(tmp_path / "none/x.html")
    assert "there is no folder" in refused(capsys, "report", run, "-o", missing)
    assert "it is a folder" in refused(capsys, "report", run, "-o", str(tmp_path))
    assert "is not a folder" in refused(capsys, "report", str(tmp_path / "nowhere"))
    assert "invalid choice: 'pdf'" in refused(capsys, "report", run, "--format", "pdf")
    assert not list(tmp_path.glob("*.html"))


def test_tables_need_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from cl_suite.report.html.command import write_report\n"
        f"write_report([Path({str(run)!r})], Path({str(tmp_path / 'x.md')!r}), 'md')\n"
        "print({'torch', 'avalanche', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
