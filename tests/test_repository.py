"""Files around the code agree with it: workflow, hooks, citation, changelog, version."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from helpers.project_files import PROJECT, ROOT, promised_pythons

from cl_suite import __version__

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def commands(job: str) -> str:
    steps: list[dict[str, Any]] = WORKFLOW["jobs"][job]["steps"]
    return "\n".join(step.get("run", "") for step in steps)


def test_the_workflow_tests_every_promised_python() -> None:
    matrix = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == promised_pythons()
    assert "make test" in commands("test")


def test_the_workflow_runs_the_wheel_outside_the_checkout() -> None:
    steps = WORKFLOW["jobs"]["wheel"]["steps"]
    (run,) = [s for s in steps if "cl-suite list" in s.get("run", "")]
    assert run["working-directory"] == "${{ runner.temp }}"
    assert "cl-suite run omniglot prototype" in run["run"]


def test_the_workflow_tests_the_lowest_versions_on_the_oldest_python() -> None:
    assert "--resolution lowest-direct" in commands("lowest")
    assert f"--python-version {promised_pythons()[0]} " in commands("lowest")


@pytest.mark.parametrize("job", ["wheel", "lowest"])
def test_a_job_without_a_matrix_has_the_oldest_python(job: str) -> None:
    (setup,) = [s for s in WORKFLOW["jobs"][job]["steps"] if "setup-python" in s.get("uses", "")]
    assert setup["with"]["python-version"] == promised_pythons()[0]


def test_hooks_run_what_make_lint_runs() -> None:
    hooks = [hook["entry"] for repo in HOOKS["repos"] for hook in repo["hooks"]]
    assert {re.sub(r"^\.venv/bin/(\w+).*", r"\1", entry) for entry in hooks} == {"ruff", "mypy"}
    assert any("ruff format" in entry for entry in hooks)
    # fetched from nowhere, so that hook and `make lint` have the same versions
    assert {repo["repo"] for repo in HOOKS["repos"]} == {"local"}


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT


def test_the_citation_is_of_this_version() -> None:
    assert CITATION["version"] == __version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["repository-code"] == PROJECT["urls"]["Repository"]


def test_the_changelog_begins_with_this_version_and_its_date() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    version, date = re.findall(r"^## (\S+) \((.*)\)$", text, re.MULTILINE)[0]
    assert version == __version__
    assert date == CITATION["date-released"].isoformat()


def test_gits_ignore_list_hides_no_source() -> None:
    """Ruff leaves out what git ignores, and a fresh checkout would lack it."""
    lines = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    anywhere = {line.rstrip("/") for line in lines if not line.startswith("/")}
    tops = ("cl_suite", "strategies", "scenarios", "configs", "tests")
    paths = [p.relative_to(ROOT) for top in tops for p in (ROOT / top).rglob("*.py")]
    assert not {part for path in paths for part in path.parts} & anywhere


def test_contributing_names_every_folder_that_takes_a_contribution() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name in re.findall(r"`([\w/]+/)`", text):
        assert (ROOT / name).is_dir() or (ROOT / "cl_suite" / name).is_dir(), name
    for folder in ("strategies/", "scenarios/", "cl_suite/losses/", "cl_suite/metrics/"):
        assert f"`{folder}`" in text
