"""Dependencies: declared, bounded, pinned, and available for every supported Python."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from helpers.project_files import (
    PROJECT,
    ROOT,
    all_dependencies,
    dependencies,
    pins,
    promised_pythons,
)
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# both count majors by the year, or without a break in what is used here
UNBOUNDED = {"pillow", "rich"}
# of the GPU platform: torch itself fixes their versions
PLATFORM = ("nvidia-", "cuda-", "triton")
# no wheels: gputil and antlr4-python3-runtime (of lightly) have none at all, ecos none for Python
# 3.13 and newer (a C compiler builds it)
FROM_SOURCE = ("gputil", "antlr4-python3-runtime", "ecos")


# of the extra `testing`
ONLY_FOR_AUTHORS = {"pytest"}
# of an extra, and imported in its folder alone; the last ones come with fastapi
EXTRAS = {
    "learner/export": {"onnx", "onnxruntime"},
    "learner/serve": {"fastapi", "uvicorn", "starlette", "pydantic"},
    "runs/sweep": {"ray"},
}


def imported_names(but_not_in: str = "nowhere") -> set[str]:
    """Return the top-level names that our code imports, at the top of a file or in a function."""
    names: set[str] = set()
    for folder in ("cl_suite", "strategies", "scenarios"):
        for path in (ROOT / folder).rglob("*.py"):
            if but_not_in in path.as_posix():
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"cl_suite"}


def test_every_imported_library_is_declared() -> None:
    distributions = packages_distributions()
    for name in imported_names() - ONLY_FOR_AUTHORS - set().union(*EXTRAS.values()):
        providers = {canonicalize_name(d) for d in distributions.get(name, [name])}
        assert providers & dependencies().keys(), f"{name} is imported and not declared"


@pytest.mark.parametrize("folder", EXTRAS)
def test_what_an_extra_brings_is_imported_in_its_folder_alone(folder: str) -> None:
    declared = {
        canonicalize_name(Requirement(line).name)
        for line in PROJECT["optional-dependencies"][folder.rpartition("/")[2]]
    }
    assert declared & EXTRAS[folder]
    assert not imported_names(but_not_in=folder) & EXTRAS[folder]


def test_pytest_is_imported_by_the_authors_plugin_alone_and_comes_with_an_extra() -> None:
    users = [
        p for p in (ROOT / "cl_suite").rglob("*.py") if "import pytest" in p.read_text("utf-8")
    ]
    assert users == [ROOT / "cl_suite/testing/pytest_plugin.py"]
    assert [line.split(">")[0] for line in PROJECT["optional-dependencies"]["testing"]] == [
        "pytest"
    ]


@pytest.mark.parametrize("name", dependencies())
def test_a_dependencys_next_major_is_left_out(name: str) -> None:
    operators = {specifier.operator for specifier in dependencies()[name].specifier}
    assert ">=" in operators
    assert ("<" in operators) is (name not in UNBOUNDED)


@pytest.mark.parametrize("name", all_dependencies())
def test_a_dependency_is_pinned_within_its_bounds(name: str) -> None:
    versions = pins().get(name, set())
    assert versions
    assert all(all_dependencies()[name].specifier.contains(v, prereleases=True) for v in versions)


def test_no_pin_is_of_one_platform_alone() -> None:
    assert not [name for name in pins() if name.startswith(PLATFORM)]


def uv(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    find = pytest.importorskip("uv", reason="needs uv, of the extra `dev`").find_uv_bin
    return subprocess.run(
        [find(), "pip", "compile", "--quiet", "--no-annotate", "--no-header", *arguments],
        capture_output=True,
        text=True,
        input=text,
        cwd=ROOT,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
    )


@pytest.fixture(scope="module")
def index() -> None:
    """A package index that answers; resolving reads metadata and installs nothing."""
    answer = uv("-", "--no-deps", "--refresh", text="iniconfig")
    if answer.returncode != 0:
        pytest.skip(f"needs a package index ({' '.join(answer.stderr.split())[-200:]})")


def resolved(python: str, *arguments: str) -> dict[str, str]:
    """Return name and version of all that an installation on Linux would hold."""
    answer = uv(
        *("pyproject.toml", "--python-version", python),
        *("--python-platform", "x86_64-unknown-linux-gnu"),
        *("--only-binary", ":all:"),
        *(part for name in FROM_SOURCE for part in ("--no-binary", name)),
        *arguments,
    )
    assert answer.returncode == 0, answer.stderr
    lines = [line.partition(" ;")[0] for line in answer.stdout.splitlines()]
    return dict(line.strip().split("==") for line in lines if "==" in line)


@pytest.mark.slow
@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("python", promised_pythons())
def test_the_pins_are_a_whole_installation_on_every_promised_python(python: str) -> None:
    known = pins()
    # the documents' pins need Python 3.11.5 (pymdown-extensions); without them any 3.11 will do
    extras = ("dev", "export", "serve", "testing")
    chosen = (part for extra in extras for part in ("--extra", extra))
    resolved(python, *chosen, "--constraint", "constraints.txt")
    patch = {"3.11": "3.11.5"}.get(python, python)
    found = resolved(patch, "--all-extras", "--constraint", "constraints.txt")
    loose = {n: v for n, v in found.items() if v not in known.get(n, ())}
    assert not {n: v for n, v in loose.items() if not n.startswith(PLATFORM)}
    assert found.keys() >= dependencies().keys()


@pytest.mark.slow
@pytest.mark.usefixtures("index")
def test_the_lowest_versions_of_direct_dependencies_go_together() -> None:
    lowest = promised_pythons()[0]
    found = resolved(lowest, "--resolution", "lowest-direct")
    for name, requirement in dependencies().items():
        least = next(s.version for s in requirement.specifier if s.operator == ">=")
        assert found[name].startswith(least), f"{name}: {found[name]}, but {least} is promised"


def test_requires_python_begins_at_the_oldest_promised() -> None:
    assert PROJECT["requires-python"] == f">={promised_pythons()[0]}"


def test_the_makefile_asks_for_the_oldest_promised_python() -> None:
    major, _, minor = promised_pythons()[0].partition(".")
    text = Path(ROOT, "Makefile").read_text("utf-8")
    assert f"sys.version_info < ({major}, {minor})" in text
    assert f"needs Python {major}.{minor} or newer" in text
