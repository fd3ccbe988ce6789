"""The tables of a report: the figures of `cl-suite show`, as data."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.reports import add_info, streams, write_confidence, write_pair, write_probe
from helpers.shown_runs import row, shown, write_run

from cl_suite.report.html.tables import Cell, Table, tables_of


def tables(path: Path) -> dict[str, Table]:
    (stream,) = streams(path)
    return {table.kind: table for table in tables_of(stream)}


def cells(table: Table, label: str) -> dict[str, Cell]:
    (found,) = (r for r in table.rows if r[0].text == label)
    return dict(zip(table.columns, found, strict=True))


def test_the_figures_are_those_that_show_prints(tmp_path: Path) -> None:
    write_pair(tmp_path)
    printed = row(shown(tmp_path), "joint", "3")
    found = cells(tables(tmp_path)["figures"], "joint")
    names = ("average", "last", "drop", "harmonic", "forgetting")
    assert " ".join(found[name].text for name in names).split() == printed[2:]
    assert found["seeds"].value == 3


def test_the_best_accuracies_are_marked_and_no_other_figures(tmp_path: Path) -> None:
    write_pair(tmp_path)
    table = tables(tmp_path)["figures"]
    marked = {name for name, cell in cells(table, "joint").items() if cell.mark == "best"}
    assert marked == {"average", "last", "harmonic", "gAcc", "macro"}
    assert not any(cell.mark for cell in cells(table, "teen").values())


def test_nothing_is_best_without_another(tmp_path: Path) -> None:
    write_run(tmp_path)
    found = tables(tmp_path)
    assert "differences" not in found
    assert not any(cell.mark for r in found["figures"].rows for cell in r)


def test_a_difference_is_worse_only_if_its_interval_leaves_out_0(tmp_path: Path) -> None:
    for seed, lead in enumerate((0.04, -0.05, 0.0)):
        write_run(tmp_path, "teen", seed, base_rate=0.8)
        write_run(tmp_path, "joint", seed, base_rate=0.9)
        write_run(tmp_path, "near", seed, base_rate=0.89 + lead)
    table = tables(tmp_path)["differences"]
    found = cells(table, "teen")
    assert found["average"].mark == "worse"
    assert found["pairs"].value == 3
    assert cells(table, "near")["average"].mark == ""
    assert "joint" in table.caption


def test_less_drop_is_better(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "joint", seed, base_rate=0.95)
        write_run(tmp_path, "teen", seed, base_rate=0.55)
    assert cells(tables(tmp_path)["differences"], "teen")["drop"].mark == "better"


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    write_pair(tmp_path, num_seeds=1)
    found = cells(tables(tmp_path)["figures"], "teen")["last"]
    assert (found.text, found.half_width) == ("62.67", None)
    assert found.value == pytest.approx(62.667, abs=1e-3)


def test_accuracy_is_told_session_by_session(tmp_path: Path) -> None:
    write_run(tmp_path, num_sessions=3)
    table = tables(tmp_path)["sessions"]
    assert table.columns == ("method", "0", "1", "2")
    assert [cell.text for cell in table.rows[0]] == ["teen", "90.00", "69.50", "62.67"]


def test_of_very_many_sessions_the_first_and_the_last_are_told(tmp_path: Path) -> None:
    write_run(tmp_path, num_sessions=60)
    table = tables(tmp_path)["sessions"]
    assert table.columns[1] == "0"
    assert table.columns[-1] == "59"
    assert f"({len(table.columns) - 1} of 60 sessions)" in table.caption


def test_costs_stand_beside_the_accuracy(tmp_path: Path) -> None:
    for strategy, kept in (("teen", 0), ("er", 2_500_000)):
        add_info(write_run(tmp_path, strategy), kept_bytes=kept)
    table = tables(tmp_path)["costs"]
    assert table.columns == ("method", "average", "kept MB")
    assert cells(table, "er")["kept MB"] == Cell("2.5", 2.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 10**400, True, "7", None])
def test_a_cost_that_cannot_be_is_not_known(tmp_path: Path, value: object) -> None:
    add_info(write_run(tmp_path), kept_bytes=value, seconds_train=2.5)
    table = tables(tmp_path)["costs"]
    assert table.columns == ("method", "average", "train s")


def test_confidence_is_told_of_methods_that_have_measured_it(tmp_path: Path) -> None:
    write_run(tmp_path, "joint")
    assert "confidence" not in tables(tmp_path)
    write_confidence(write_run(tmp_path, "teen"), [0.3, 0.25, 0.2])
    table = tables(tmp_path)["confidence"]
    assert [r[0].text for r in table.rows] == ["teen"]
    found = cells(table, "teen")
    assert [found[name].text for name in ("ECE", "ECE, scaled", "Brier")] == [
        "20.00",
        "10.00",
        "0.20",
    ]


def test_a_probe_has_tables_of_its_own_and_no_probabilities(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    write_confidence(run, [0.3, 0.25, 0.2])
    write_probe(run)
    classifier, probe = streams(tmp_path)
    assert "confidence" in {table.kind for table in tables_of(classifier)}
    assert "confidence" not in {table.kind for table in tables_of(probe)}
