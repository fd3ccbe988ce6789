"""The site: pages generated from the code exist, and so does everything that others name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Literal

import pytest

from cl_suite import registry
from cl_suite.cli import COMMANDS
from cl_suite.learner.commands.arguments import HELP, parse
from cl_suite.parameters import Within
from cl_suite.runs.config import build_parser
from site_writer import arrows, docstrings, entries, measured
from site_writer.parameters import parameters, table

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
ENTRIES = [
    pytest.param(kind, name, id=f"{kind} {name}")
    for kind in entries.FOLDERS
    for name in registry.entries(kind)
]
SOURCE = re.compile(r"arXiv\s+\d{4}\.\d{4,5}|openaccess\.thecvf\.com|method of this suite")
OPTIONS = {"help", "print_config", "start-from", "resume", "seed", "out"}


class Method:
    """A method.

    Args:
        rate: how fast.
        mode: which way.
    """

    def __init__(
        self, rate: Annotated[float, Within(0, 1)] | None, mode: Literal["up", "down"] = "up"
    ) -> None: ...


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_a_page_describes_its_entry_and_every_parameter(kind: registry.Kind, name: str) -> None:
    entry = registry.get(kind, name)
    page = entries.page(kind, name)
    assert len(entries.method_text(entry)) > 50
    assert page.startswith(f"# `{name}`\n")
    for parameter in inspect.signature(entry.load()).parameters:
        assert f"| `--{kind}.{parameter}` |" in page


@pytest.mark.parametrize("name", registry.entries("strategy"))
def test_a_strategy_names_its_source(name: str) -> None:
    assert SOURCE.search(entries.source(registry.get("strategy", name)))


@pytest.mark.parametrize("kind", entries.FOLDERS)
def test_the_overview_and_the_navigation_name_every_entry(kind: registry.Kind) -> None:
    for name in registry.entries(kind):
        assert f"| [`{name}`]({name}.md) |" in entries.index(kind)
        assert f"- [{name}]({name}.md)\n" in entries.summary(kind)


def commands() -> list[list[str]]:
    blocks = [b for p in PAGES for b in re.findall(r"```sh\n(.*?)```", p.read_text("utf-8"), re.S)]
    lines = [line.split("#")[0].split(">")[0].split() for b in blocks for line in b.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "cl-suite"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_things_that_exist(words: list[str]) -> None:
    if words[0] != "run" or words[1].startswith("-"):
        assert words[0] in COMMANDS
        if words[0] in HELP:
            parse(words)
        return
    pair = registry.get("scenario", words[1]), registry.get("strategy", words[2])
    defaults = build_parser(*pair).get_defaults()
    for word in words[3:]:
        if word.startswith("--"):
            assert word[2:] in OPTIONS or word[2:] in defaults


def test_every_example_stands_in_a_guide_as_it_is() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    for path in (ROOT / "examples").rglob("*.py"):
        assert f'--8<-- "{path.relative_to(ROOT).as_posix()}"' in text


def test_lists_below_a_line_of_prose_become_lists() -> None:
    found = docstrings.to_markdown("Differences:\n    - one\n      more;\n    - two.\n\nEnd.")
    assert found == "Differences:\n\n-   one\n    more;\n-   two.\n\nEnd."


def test_a_formula_stays_in_its_list_item() -> None:
    found = docstrings.to_markdown("1. A step:\n       L = x\n\n           + y\n2. Next.")
    assert found == "1.  A step:\n\n    ```text\n    L = x\n    \n        + y\n    ```\n\n2.  Next."


def test_prose_shows_angle_brackets_and_code_keeps_them() -> None:
    assert docstrings.escaped("<a> in `<b>`") == "&lt;a> in `<b>`"


def test_parameters_show_type_default_range_and_meaning() -> None:
    text = table(parameters(Method, {"params": {"mode": "down"}}), "strategy")
    assert "| `--strategy.rate` | float or null | (required) | in [0, 1] | how fast. |" in text
    assert "| `--strategy.mode` | `up`, `down` | `down` |  | which way. |" in text


def test_a_page_shows_what_was_measured_of_its_strategy() -> None:
    import tables

    for table_of_all in tables.load_all():
        for row in table_of_all.rows:
            assert f"### {table_of_all.title}" in entries.page("strategy", row.strategy)


def test_the_results_page_has_every_table() -> None:
    import tables

    for table_of_all in tables.load_all():
        assert f"## {table_of_all.title}\n" in measured.page()


def test_the_arrows_are_read_from_the_test_that_keeps_them(tmp_path: Path) -> None:
    file = tmp_path / "test_architecture.py"
    file.write_text('ARROWS: dict[str, list[str]] = {"runs": ["engine", "data"], "losses": []}\n')
    found = arrows.table(arrows.arrows(file))
    assert "| `runs` | `engine`, `data` |" in found
    assert "| `losses` | nothing of ours |" in found
