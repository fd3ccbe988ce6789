"""The house rules of the design: imports run one way, every package is named, no bare modules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "cl_suite": "cl_suite",
    "cl_suite.strategies": "strategies",
    "cl_suite.scenarios": "scenarios",
    "cl_suite.configs": "configs",
}
OURS = sorted((ROOT / "cl_suite").rglob("*.py")) + [
    p for folder in ("strategies", "scenarios") for p in (ROOT / folder).rglob("*.py")
]
# what a part of the house may not import
FORBIDDEN = {
    "cl_suite/losses": ["cl_suite"],
    "cl_suite/metrics": [
        "cl_suite.data",
        "cl_suite.models",
        "cl_suite.runs.run",
        "cl_suite.engine.engine",
        "cl_suite.strategies",
        "cl_suite.scenarios",
        "cl_suite.cli",
        "torch",
    ],
    "cl_suite/models": [
        "cl_suite.runs.run",
        "cl_suite.engine.engine",
        "cl_suite.strategies",
        "cl_suite.scenarios",
        "cl_suite.cli",
        "avalanche",
    ],
    "cl_suite/data": [
        "cl_suite.runs.run",
        "cl_suite.engine.engine",
        "cl_suite.strategies",
        "cl_suite.scenarios",
        "cl_suite.cli",
        "cl_suite.models",
    ],
    "strategies": [
        "cl_suite.scenarios",
        "cl_suite.runs.run",
        "cl_suite.cli",
        "cl_suite.engine.engine",
    ],
    "scenarios": [
        "cl_suite.strategies",
        "cl_suite.runs.run",
        "cl_suite.cli",
        "cl_suite.engine.engine",
    ],
}


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_run_one_way(part: str) -> None:
    own = f"cl_suite.{Path(part).name}"
    for path in (ROOT / part).rglob("*.py"):
        for name in imported(path):
            for package in FORBIDDEN[part]:
                assert not within(name, package) or within(name, own), f"{path}: {name}"


def test_avalanche_is_imported_by_few_modules_and_never_with_the_package() -> None:
    users = {
        p.relative_to(ROOT).as_posix()
        for p in OURS
        if any(within(name, "avalanche") for name in imported(p, top_level_only=True))
    }
    assert users <= {"cl_suite/avalanche/api.py", "cl_suite/avalanche/reader.py"}


def test_every_folder_of_modules_is_a_package_that_setuptools_finds() -> None:
    found = set(find_packages(str(ROOT), include=["cl_suite*"]))
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.parent.relative_to(ROOT / folder).parts
            assert ".".join([package, *parts]) in found, path


@pytest.mark.parametrize("name", ["strategies", "scenarios", "configs"])
def test_the_three_folders_at_the_top_are_linked_into_the_package(name: str) -> None:
    link = ROOT / "cl_suite" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_every_strategy_has_its_file_its_yaml_and_its_test() -> None:
    for path in (ROOT / "strategies").glob("*.py"):
        if path.name != "__init__.py":
            assert (ROOT / "configs/strategy" / f"{path.stem}.yaml").is_file()
            assert (ROOT / "tests/strategies" / f"test_{path.stem}.py").is_file()


def test_nothing_is_pickled() -> None:
    for path in OURS:
        text = path.read_text("utf-8")
        assert "torch.save(" not in text, path
        assert "yaml.load(" not in text, path
        assert not {"pickle", "dill"} & imported(path), path
        assert "torch.load(" not in text or "weights_only=True" in text, path
