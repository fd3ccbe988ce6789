"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from helpers.reports import streams, write_pair
from helpers.shown_runs import write_run

from cl_suite.report.html.formats import comma_separated, latex, markdown


def test_markdown_has_a_row_a_method_and_the_notes(tmp_path: Path) -> None:
    write_pair(tmp_path)
    text = markdown(streams(tmp_path), ["note: mind this"])
    assert "## demo\n" in text
    assert "| teen | 3 | 67.94 ±15.18 |" in text
    assert text.endswith("note: mind this\n")
    head, rule = next(
        (line, after)
        for line, after in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if line.startswith("| method | seeds")
    )
    assert head.count("|") == rule.count("|")


def test_csv_has_every_number_in_full(tmp_path: Path) -> None:
    write_pair(tmp_path)
    rows = list(csv.DictReader(io.StringIO(comma_separated(streams(tmp_path), []))))
    (found,) = (
        r for r in rows if (r["table"], r["method"], r["column"]) == ("figures", "teen", "last")
    )
    assert float(found["value"]) == pytest.approx(100 * (188 + 178 + 168) / 900)
    assert float(found["half_width"]) > 0
    assert found["measured_by"] == "its classifier"


def test_a_name_is_no_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    write_run(tmp_path, "=1+1")
    rows = list(csv.DictReader(io.StringIO(comma_separated(streams(tmp_path), []))))
    assert {r["method"] for r in rows} == {"'=1+1"}


def test_latex_has_a_table_that_packages_can_set(tmp_path: Path) -> None:
    write_pair(tmp_path)
    text = latex(streams(tmp_path), ["left out: 'a'"])
    assert r"\toprule" in text
    assert r"teen & 3 & 67.94 $\pm$15.18 &" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert "% left out: 'a'" in text
    for line in text.splitlines():
        if line.strip().startswith("method"):
            columns = line.count("&")
        if line.strip().startswith(("teen", "joint")):
            assert line.count("&") == columns


@pytest.mark.parametrize(
    ("write", "escaped"),
    [(markdown, r"a\|b\_c\<i\>"), (latex, r"a|b\_c\textless{}i\textgreater{}")],
)
def test_names_are_no_markup(tmp_path: Path, write: object, escaped: str) -> None:
    write_run(tmp_path, "a|b_c<i>")
    assert callable(write)
    assert escaped in write(streams(tmp_path), [])
