"""The measured figures: every file follows the rules, and the pages show every figure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.programs import ROOT, load_program

from cl_suite import registry
from cl_suite.methods.contrastive.recipes import RECIPES

documents = load_program("docs/tables.py")
programs = load_program("benchmarks/tables.py")
FILES = sorted((ROOT / "benchmarks/results").glob("*.json"))
SMALL: dict[str, Any] = {
    "schema": 1,
    "name": "small",
    "title": "A small table",
    "scenario": "omniglot",
    "setting": "Short runs.",
    "measured": "2026-01-01",
    "version": "9.9",
    "machine": {"device": "cpu", "cores": 2, "processor": None},
    "provenance": None,
    "partial": True,
    "command": "python benchmarks/tables.py small",
    "needs": {"DATA": "the data"},
    "columns": {"last": "last one", "average": "average"},
    "rows": [
        {
            "name": "means",
            "label": "`prototype`",
            "group": None,
            "scenario": "omniglot",
            "strategy": "prototype",
            "host": None,
            "baseline": None,
            "options": None,
            "seeds": None,
            "figures": {"last": {"mean": 70, "half_width": None, "values": None}},
        },
        {
            "name": "wrapped",
            "label": "`cler`",
            "group": "hosts",
            "scenario": "omniglot",
            "strategy": "cler",
            "host": "teen",
            "baseline": "means",
            "options": {"scenario.root": "$DATA", "strategy.host_params": "{a: 1}"},
            "seeds": [0, 1, 2, 4],
            "figures": {"average": {"mean": 81.5, "half_width": 1.25, "values": None}},
        },
    ],
    "differences": [
        {
            "figure": "last",
            "row": "wrapped",
            "against": "means",
            "seeds": [0],
            "mean": -0.9,
            "half_width": 1.3,
            "decimals": 1,
        }
    ],
    "notes": ["A first note.", "A second one."],
}


def small(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Any:
    """Return the small table, read from a file after a change of its content."""
    content = json.loads(json.dumps(SMALL))
    change(content)
    path = folder / "small.json"
    path.write_text(json.dumps(content))
    return documents.load(path)


# --- the files ---


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_keeps_the_rules_and_names_what_exists(path: Path) -> None:
    table = documents.load(path)
    for row in table.rows:
        registry.get("scenario", row.scenario)
        registry.get("strategy", row.strategy)
        assert row.host is None or registry.get("strategy", row.host)
        assert row.figures


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_shows_every_figure_of_a_file(path: Path) -> None:
    content = json.loads(path.read_text("utf-8"))
    page = documents.page([documents.load(path)])
    (grid, *_) = [part for part in page.split("\n\n") if part.startswith("| ")]
    lines = [[cell.strip() for cell in line.split("|")] for line in grid.splitlines()]
    for row, line in zip(content["rows"], lines[2:], strict=True):
        for name, figure in row["figures"].items():
            assert line[lines[0].index(content["columns"][name])] == in_words(figure)
    for difference in content["differences"]:
        plus = "+" if difference["mean"] >= 0 else ""
        assert f"| {plus}{in_words(difference)} |" in page
    for text in (content["setting"], *content["notes"]):
        assert text in page


def in_words(figure: dict[str, Any]) -> str:
    digits = figure.get("decimals", 2)
    half_width = figure["half_width"]
    return f"{figure['mean']:.{digits}f}" + (
        "" if half_width is None else f" ± {half_width:.{digits}f}"
    )


def test_every_table_of_the_program_has_a_file_of_its_own_rows() -> None:
    for name, table in programs.TABLES.items():
        found = documents.load(ROOT / f"benchmarks/results/{name}.json")
        rows = {row.name: row.strategy for row in table.rows if row.reported}
        assert {row.name: row.strategy for row in found.rows}.items() <= rows.items()
        assert found.title == table.title


def test_no_option_of_a_row_is_a_path_of_some_machine() -> None:
    for path in FILES:
        for row in documents.load(path).rows:
            assert not any(value.startswith(("/", "~")) for value in (row.options or {}).values())


def test_frozen_features_are_written_by_the_same_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path))
    frozen = load_program("benchmarks/frozen_features.py")
    stream = frozen.random_features([20, 5, 5], dim=8)
    frozen.print_accuracies(stream, "tiny", ["class_means", "ranpac_unbalanced"], 2)
    table = documents.load(tmp_path / "frozen_tiny.json")
    means, ranpac = table.rows
    assert (means.seeds, ranpac.seeds) == ([0], [0, 1])
    assert ranpac.baseline == means.name == "class_means"
    assert ranpac.options == {"strategy.balanced": "false"}
    assert table.partial
    assert means.figures["average"].mean > 0
    assert f"{means.figures['average'].mean:.2f}" in capsys.readouterr().out
    assert "100 images, the tests 30" in table.setting


def test_autos_grounds_have_a_mean_by_common_seeds_and_what_auto_gains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path))
    program = load_program("benchmarks/auto_grounds.py")

    def values(average: dict[int, float]) -> dict[str, dict[int, float]]:
        return {"average": average, "last": average, "harmonic": average}

    for ground, found in {
        "gtsrb_deit": {"lda": {0: 0.4, 1: 0.5}, "auto": {0: 0.5, 1: 0.7}, "ridge": {0: 0.1}},
        "omniglot_conv4": {"lda": {0: 0.6}, "auto": {0: 0.7}},
    }.items():
        measured = {method: values(average) for method, average in found.items()}
        # the second call keeps what the first wrote
        program.write_results(program.rows_of(ground, program.GROUNDS[ground], measured))
    table = documents.load(tmp_path / "auto_grounds.json")
    means = {row.name: row for row in table.rows if row.group == program.MEAN}
    assert means.keys() == {"mean_lda", "mean_auto"}
    assert means["mean_auto"].figures["average"].values == {"0": 60.0}
    gains = {(d.row, d.against): d.mean for d in table.differences if d.figure == "average"}
    assert gains == pytest.approx(
        {
            ("gtsrb_deit_auto", "gtsrb_deit_lda"): 15.0,
            ("gtsrb_deit_auto", "gtsrb_deit_ridge"): 40.0,
            ("omniglot_conv4_auto", "omniglot_conv4_lda"): 10.0,
            ("mean_auto", "mean_lda"): 10.0,
        }
    )
    assert table.partial


# --- the rules ---


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(schema=2), "schema 1"),
        (lambda c: c.update(name="other"), "named 'other'"),
        (lambda c: c.update(colour="red"), "no field 'colour'"),
        (lambda c: c.pop("notes"), "notes"),
        (lambda c: c.update(partial=1), "partial must be bool"),
        (lambda c: c["rows"][0].update(seeds=["0"]), "seeds must be"),
        (lambda c: c["rows"][0]["figures"]["last"].update(mean="70"), "mean must be float"),
        (lambda c: c["rows"][0]["figures"]["last"].update(mean=float("nan")), "mean must be"),
        (lambda c: c["rows"][0].update(name="wrapped"), "two rows"),
        (lambda c: c["rows"][0].update(baseline="nobody"), "'nobody' is named"),
        (lambda c: c["differences"][0].update(against="nobody"), "'nobody' is named"),
        (lambda c: c["columns"].pop("average"), "'average' has no column"),
        (lambda c: c["machine"].pop("cores"), "'cores'"),
        (lambda c: c["rows"][1]["figures"]["average"].update(values={"0": 81.5}), "each seed"),
        (
            lambda c: c["rows"][1]["figures"]["average"].update(values=dict.fromkeys("0124", 80.0)),
            "another mean",
        ),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        small(tmp_path, change)
    assert str(error.value).startswith("'small.json': ")


# --- the pages ---


def test_a_table_is_rendered_with_its_setting_notes_and_command(tmp_path: Path) -> None:
    assert documents.markdown(small(tmp_path), level=3) == (
        "### A small table\n\n"
        "Short runs. Not all runs of this table have been made.\n\n"
        "| group | method | seeds | last one | average |\n"
        "| --- | --- | --- | ---: | ---: |\n"
        "|  | `prototype` (baseline) | not recorded | 70.00 |  |\n"
        "| hosts | `cler` | 0 to 2, 4 |  | 81.50 ± 1.25 |\n\n"
        "| paired by seed | figure | difference |\n"
        "| --- | --- | ---: |\n"
        "| hosts: `cler` minus `prototype` | last one | -0.9 ± 1.3 |\n\n"
        "A first note.\n\n"
        "A second one.\n\n"
        "Measured on 2026-01-01 with version 9.9. Device: cpu, 2 cores.\n\n"
        "Set `DATA` to the data, then repeat the table by\n\n"
        "```sh\npython benchmarks/tables.py small\n```\n"
    )


def test_seeds_that_all_rows_share_stand_above_the_table(tmp_path: Path) -> None:
    def share(content: dict[str, Any]) -> None:
        content["rows"][0]["seeds"] = content["rows"][1]["seeds"]

    text = documents.markdown(small(tmp_path, share))
    assert "Short runs. Seeds: 0 to 2, 4." in text
    assert "| seeds |" not in text


@pytest.mark.parametrize("strategy", ["cler", "teen"])
def test_the_rows_of_a_strategy_or_host_come_with_their_baseline(
    strategy: str, tmp_path: Path
) -> None:
    (part,) = documents.rows_of(strategy, [small(tmp_path)])
    assert [row.name for row in part.rows] == ["means", "wrapped"]
    assert len(part.differences) == 1
    assert not part.notes


def test_a_baseline_alone_brings_none_of_the_rows_compared_with_it(tmp_path: Path) -> None:
    (part,) = documents.rows_of("prototype", [small(tmp_path)])
    assert [row.name for row in part.rows] == ["means"]
    assert not part.differences
    assert documents.rows_of("ewc", [small(tmp_path)]) == []


def test_the_command_of_a_row_leaves_variables_to_the_shell(tmp_path: Path) -> None:
    table = small(tmp_path)
    assert documents.run_command(table.row("means")) is None
    assert documents.run_command(table.row("wrapped")) == (
        'cl-suite run omniglot cler --seed 0 1 2 4 --scenario.root "$DATA" '
        "--strategy.host_params '{a: 1}'"
    )


def test_the_program_prints_the_page_or_the_rows_of_a_strategy() -> None:
    call = [sys.executable, str(ROOT / "docs/tables.py")]
    page = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert page == documents.page(documents.load_all())
    assert page.count("\n### ") == len(FILES)
    part = subprocess.run([*call, "teen"], capture_output=True, text=True, check=True).stdout
    assert "81.98 ± 1.57" in part
    assert "`lwf`" not in part


def test_the_table_of_contrastive_losses_has_every_loss() -> None:
    rows = programs.TABLES["contrastive_losses"].rows
    measured = {row.options.get("strategy.loss") for row in rows} - {None}
    assert measured == set(RECIPES)
