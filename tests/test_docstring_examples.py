"""Every example in a docstring runs and prints the documented output."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# in the checkout's own folders: through the links in cl_suite each module would come twice
FOLDERS = {"cl_suite": "cl_suite", "strategies": "cl_suite.strategies"}
FOLDERS |= {"scenarios": "cl_suite.scenarios"}
PROMPT = re.compile(r"^\s*>>> ", re.MULTILINE)


def modules_with_examples() -> dict[str, int]:
    """Return the number of prompts in each module that has any; no module is imported for it."""
    counts = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            if count := len(PROMPT.findall(path.read_text("utf-8"))):
                name = ".".join([package, *inner]).removesuffix(".__init__")
                counts[name] = count
    return counts


PROMPTS = modules_with_examples()


def examples_of(name: str) -> list[doctest.DocTest]:
    return doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)


@pytest.mark.parametrize("name", PROMPTS)
def test_the_examples_of_a_module_print_what_they_say(name: str) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    for example in examples_of(name):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", PROMPTS)
def test_every_example_of_a_module_is_found(name: str) -> None:
    """One in a comment, or in a docstring that Python drops, would never run."""
    assert sum(len(test.examples) for test in examples_of(name)) == PROMPTS[name]


def test_examples_do_not_vanish() -> None:
    assert sum(PROMPTS.values()) >= 35
    assert any(name.startswith("cl_suite.strategies.") for name in PROMPTS)
    assert any(name.startswith("cl_suite.scenarios.") for name in PROMPTS)
