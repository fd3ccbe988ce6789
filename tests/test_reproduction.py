"""The page on reproduction: it is what the program writes, by the rules that it prints."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.programs import ROOT, load_program

import tables
from cl_suite import registry
from site_writer import overview, reproduction, reproduction_facts

PAGE = ROOT / "docs/reproduction.md"
README = ROOT / "README.md"
FACTS = reproduction_facts.load()
RESULTS = {table.name: table for table in tables.load_all()}
NAMES = (
    *("CoACT", "CPE-CLIP", "COCONUT", "CLER", "MAMLCon", "CFSL with the instance test"),
    *("FPF and k-FPF", "Sy-CON", "LIMIT", "TEEN", "PICLE"),
)
BY_NAME = [pytest.param(system, id=system.name) for system in FACTS.systems]


# --- the page ---


def test_the_committed_page_is_what_the_program_writes() -> None:
    call = [sys.executable, str(ROOT / "docs/reproduction.py")]
    written = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert PAGE.read_text("utf-8") == written


def test_the_readme_has_todays_table_of_systems() -> None:
    text = README.read_text("utf-8")
    assert reproduction.readme(text) == text
    for system in FACTS.systems:
        assert text.count(f"| [{system.name}](docs/reproduction.md#") == 1


def test_a_row_of_the_readme_has_the_figures_of_its_ground() -> None:
    system = next(system for system in FACTS.systems if system.name == "LIMIT")
    results = [result(table(), ground="a small ground"), result(table())]
    lines = overview.table([(system, results)]).splitlines()
    assert lines[2:] == [
        "| [LIMIT](docs/reproduction.md#limit) | a small ground; last "
        "| `ours` 72.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}9.0 "
        "| `base` 70.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}9.0 "
        "| +2.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.2 |"
    ]


def test_a_measured_system_without_a_ground_is_refused() -> None:
    system = next(system for system in FACTS.systems if system.name == "LIMIT")
    with pytest.raises(ValueError, match="system 'LIMIT': none of its references has a ground"):
        overview.table([(system, [result(table())])])
    assert "| not measured |" in overview.table([(system, [])])


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="once, in this order"):
        overview.inserted(f"{overview.END}\n\n{overview.BEGIN}", "| a |")
    page = f"{overview.BEGIN}\nold\n{overview.END}\nrest"
    assert overview.inserted(page, "| a |") == (
        f"{overview.BEGIN}\n\n| a |\n\n{overview.END}\nrest"
    )


def test_every_system_has_a_row_and_a_section() -> None:
    assert {system.name for system in FACTS.systems} == set(NAMES)
    text = PAGE.read_text("utf-8")
    for system in FACTS.systems:
        assert f"\n## {system.name}\n" in text
        assert f"\n| [{system.name}](#" in text
        assert text.count(f"**Verdict: {system.verdict}.** {system.why}") == 1


@pytest.mark.parametrize("system", BY_NAME)
def test_the_page_shows_each_figure_that_a_reference_names(
    system: reproduction_facts.System,
) -> None:
    (section,) = re.findall(
        rf"\n## {re.escape(system.name)}\n(.*?)(?=\n## |\Z)", PAGE.read_text("utf-8"), re.S
    )
    for reference in system.ours:
        file = ROOT / f"benchmarks/results/{reference.table}.json"
        content = json.loads(file.read_text("utf-8"))
        rows = {row["name"]: row for row in content["rows"]}
        ours = fnmatch.filter(rows, reference.row)
        own = len(reference.row.partition("*")[0])  # what a star stands for is the baseline's name
        theirs = (
            [name[own:] for name in ours] if reference.baseline == "*" else [reference.baseline]
        )
        for names in (ours, theirs):
            means = [rows[name]["figures"][reference.figure]["mean"] for name in names]
            assert f"{statistics.fmean(means):.2f}" in section
        assert content["setting"] in section
    for strategy in system.strategies:
        assert registry.get("strategy", strategy)


# --- gains and verdicts ---


def table(**changed: Any) -> tables.Table:
    """Return a table of two rows, `ours` and `base`, of which some fields have been changed."""

    def row(name: str, mean: float, half_width: float | None, **values: float) -> tables.Row:
        figure = tables.Figure(mean=mean, half_width=half_width, values=values or None)
        return tables.Row(
            name=name,
            label=f"`{name}`",
            group=None,
            scenario="omniglot",
            strategy="teen",
            host=None,
            baseline=None,
            options=None,
            seeds=[0, 1, 2],
            figures={"last": figure},
        )

    fields: dict[str, Any] = {
        "schema": 1,
        "name": "small",
        "title": "Small",
        "scenario": "omniglot",
        "setting": "Short runs.",
        "measured": "2026-01-01",
        "version": "9.9",
        "machine": {"device": "cpu", "cores": 2, "processor": None},
        "provenance": None,
        "partial": False,
        "command": "python benchmarks/tables.py small",
        "needs": {},
        "columns": {"last": "last"},
        "rows": [
            row("ours", 72.0, 9.0, **{"0": 71.0, "1": 72.0, "2": 73.0}),
            row("base", 70.0, 9.0, **{"0": 69.5, "1": 70.0, "2": 70.5}),
        ],
        "differences": [],
        "notes": [],
    }
    unpaired = changed.pop("unpaired", None)
    if unpaired is not None:
        means = (("ours", 72.0), ("base", 70.0))
        fields["rows"] = [
            row(name, mean, half) for (name, mean), half in zip(means, unpaired, strict=True)
        ]
    return tables.Table(**fields | changed)


def gain_of(found: tables.Table) -> reproduction.Gain:
    return reproduction.gain(found, found.row("ours"), found.row("base"), "last")


def test_a_gain_is_paired_by_seed_if_the_values_are_known() -> None:
    found = gain_of(table())
    # differences 1.5, 2 and 2.5; t of two degrees of freedom by deviation 0.5 by sqrt(1 / 3)
    assert found.mean == pytest.approx(2.0)
    assert found.half_width == pytest.approx(4.302653 * 0.5 / 3**0.5, abs=1e-5)
    assert found.is_shown


@pytest.mark.parametrize(("half_width", "is_shown"), [(1.9, True), (2.1, False)])
def test_a_recorded_difference_is_used_in_either_direction(
    half_width: float, is_shown: bool
) -> None:
    known = tables.Difference(
        figure="last", row="base", against="ours", seeds=None, mean=-2.0, half_width=half_width
    )
    found = gain_of(table(unpaired=(0.1, 0.1), differences=[known]))
    assert found == reproduction.Gain(mean=2.0, half_width=half_width, is_shown=is_shown)


@pytest.mark.parametrize(
    ("half_widths", "is_shown"),
    [((0.9, 1.0), True), ((1.1, 1.0), False), ((None, 0.1), False), ((0.1, None), False)],
)
def test_without_values_the_intervals_must_lie_apart(
    half_widths: tuple[float | None, float | None], is_shown: bool
) -> None:
    found = gain_of(table(unpaired=half_widths))
    assert (found.half_width, found.is_shown) == (None, is_shown)


def result(found: tables.Table, **changed: Any) -> reproduction.Result:
    names: dict[str, Any] = {"table": "small", "row": "ours", "baseline": "base", "figure": "last"}
    return reproduction.Result(
        reference=reproduction_facts.Reference(**names | changed),
        table=found,
        row=found.row("ours"),
        baseline=found.row("base"),
        gain=gain_of(found),
    )


def test_verdicts_follow_from_the_figures() -> None:
    shown, unclear = table(unpaired=(0.5, 0.5)), table(unpaired=(0.5, 3.0))
    assert reproduction.verdict([]) == "not"
    assert reproduction.verdict([result(unclear)]) == "not"
    assert reproduction.verdict([result(unclear), result(shown)]) == "partly"
    assert reproduction.verdict([result(shown, beside=True)]) == "not"
    assert reproduction.verdict([result(unclear, published=72.9)]) == "verified"
    assert reproduction.verdict([result(unclear, published=73.1)]) == "not"
    wide = table(unpaired=(4.0, 0.5))
    assert reproduction.verdict([result(wide, published=75.9)]) == "verified"


def test_a_gap_to_a_published_figure_is_in_points() -> None:
    system = dataclasses.replace(
        next(system for system in FACTS.systems if system.name == "TEEN"),
        ours=[result(table(), published=74.25).reference],
        verdict="verified",  # within 72 ± 9
    )
    facts = reproduction_facts.Facts(data=FACTS.data, systems=[system])
    text = reproduction.page(facts, {"small": table()})
    assert (
        "**Gap.** \N{MINUS SIGN}2.25 points to the published 74.25 (`small`, `ours`, last)." in text
    )
    assert "| 72.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}9.00 |" in text


# --- a mean of rows ---


def two_hosts() -> tables.Table:
    """Return a table of two rows, each with a baseline of its own."""
    found = table()
    ours, base = found.rows
    other = dataclasses.replace(ours.figures["last"], values={"0": 73.0, "1": 72.0, "2": 71.0})
    rows = [
        dataclasses.replace(ours, name="in_er", label="in"),
        dataclasses.replace(base, name="er", label="alone"),
        dataclasses.replace(ours, name="in_der", label="in", figures={"last": other}),
        dataclasses.replace(base, name="der", label="alone"),
    ]
    return dataclasses.replace(found, rows=rows)


def mean_of_rows(found: tables.Table, **changed: Any) -> reproduction.Result:
    given = {"row": "in_*", "baseline": "*", "label": "over hosts", "figure": "last"}
    reference = reproduction_facts.Reference(table="small", **{**given, **changed})
    system = dataclasses.replace(FACTS.systems[0], ours=[reference], verdict="partly")
    (result,) = reproduction.resolve(system, {"small": found})
    return result


def test_a_mean_of_rows_has_one_value_a_seed() -> None:
    found = mean_of_rows(two_hosts())
    assert found.ours.values == {"0": 72.0, "1": 72.0, "2": 72.0}
    assert found.theirs.values == {"0": 69.5, "1": 70.0, "2": 70.5}
    # differences 2.5, 2 and 1.5: three values, not six
    assert found.gain.mean == pytest.approx(2.0)
    assert found.gain.half_width == pytest.approx(4.302653 * 0.5 / 3**0.5, abs=1e-5)
    assert (found.row.group, found.row.label, found.baseline.label) == ("over hosts", "in", "alone")


def test_a_mean_of_rows_needs_the_same_seeds_and_a_label() -> None:
    found = two_hosts()
    figure = dataclasses.replace(found.rows[2].figures["last"], values={"0": 72.0})
    rows = [*found.rows]
    rows[2] = dataclasses.replace(rows[2], figures={"last": figure})
    with pytest.raises(ValueError, match="'in_der' has not the seeds of 'in_er'"):
        mean_of_rows(dataclasses.replace(found, rows=rows))
    with pytest.raises(ValueError, match="label and a"):
        mean_of_rows(found, label="")
    with pytest.raises(ValueError, match="no row in 'small' named 'no_"):
        mean_of_rows(found, row="no_*")


# --- what the program refuses ---


def refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], record: str = "TEEN"
) -> str:
    """Return the sentence that answers a change of one system of the file."""
    content = copy.deepcopy(yaml.safe_load(reproduction_facts.FACTS.read_text("utf-8")))
    change(next(system for system in content["systems"] if system["name"] == record))
    path = tmp_path / "reproduction.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=record) as error:
        reproduction.page(reproduction_facts.load(path), RESULTS)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("field", ["table", "row", "baseline", "figure"])
def test_a_reference_to_nothing_is_refused(field: str, tmp_path: Path) -> None:
    said = refused(tmp_path, lambda system: system["ours"][0].update({field: "nothing"}))
    assert "'nothing'; there are " in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(verdict="partly"), "by the rules of the page its figures make it"),
        (lambda s: s.update(verdict="perhaps"), "verdict must be one of"),
        (lambda s: s.update(colour="red"), "no field 'colour'"),
        (lambda s: s.pop("why"), "field 'why' is missing"),
        (lambda s: s.update(claim=3), "claim must be str"),
        (lambda s: s["ours"][0].update(published="52"), "published must be float"),
        (lambda s: s["ours"][0].pop("row"), "field 'row' is missing"),
        (lambda s: s["full"][0].update(command="cl-suite run x $NOWHERE"), "$NOWHERE"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, change)


def test_the_program_answers_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def page() -> str:
        raise ValueError("there is no table 'nothing'")

    program = load_program("docs/reproduction.py")
    monkeypatch.setattr(program.reproduction, "page", page)
    assert program.main() == 2
    assert capsys.readouterr() == ("", "there is no table 'nothing'\n")
