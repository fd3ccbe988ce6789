"""The house rules of the design: imports run one way, and nothing is pickled."""

from __future__ import annotations

import ast
import re
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
# which packages (and modules of the root) each may import: data flows down this list, and so do
# imports; `docs/architecture` shows it
ARROWS: dict[str, list[str]] = {
    "configs": [],
    "errors": [],
    "randomness": [],
    "parameters": ["errors"],
    "registry": ["errors"],
    "losses": [],
    "metrics": [],
    "distributed": ["errors"],
    "storage": ["distributed", "errors"],
    "data": ["errors"],
    "requirements": ["data", "errors"],
    "avalanche": ["data", "distributed", "errors", "randomness", "requirements"],
    "models": ["data", "distributed", "errors", "parameters"],
    "features": ["avalanche", "data", "distributed", "errors", "models", "randomness"],
    "plugin": ["avalanche", "data", "errors", "features", "models", "parameters", "requirements"],
    "methods": [
        "avalanche",
        "data",
        "errors",
        "features",
        "losses",
        "models",
        "parameters",
        "plugin",
        "registry",
        "requirements",
    ],
    "strategies": [
        "avalanche",
        "data",
        "errors",
        "features",
        "losses",
        "methods",
        "models",
        "plugin",
        "registry",
    ],
    "scenarios": ["avalanche", "data", "errors", "parameters", "randomness", "registry"],
    "engine": [
        "avalanche",
        "data",
        "distributed",
        "errors",
        "features",
        "metrics",
        "models",
        "parameters",
        "plugin",
        "randomness",
        "requirements",
    ],
    "learner": [
        "data",
        "errors",
        "features",
        "methods",
        "models",
        "plugin",
        "registry",
        "storage",
    ],
    "runs": [
        "data",
        "distributed",
        "engine",
        "errors",
        "features",
        "learner",
        "methods",
        "metrics",
        "models",
        "parameters",
        "plugin",
        "randomness",
        "registry",
        "requirements",
        "avalanche",
        "storage",
    ],
    "logging": [
        "data",
        "engine",
        "errors",
        "metrics",
        "models",
        "parameters",
        "registry",
        "runs",
        "storage",
    ],
    "report": [
        "distributed",
        "engine",
        "errors",
        "features",
        "metrics",
        "models",
        "registry",
        "requirements",
        "runs",
        "storage",
    ],
    # what authors of methods get: it makes engines of their classes as a run does
    "testing": [
        "avalanche",
        "data",
        "distributed",
        "engine",
        "errors",
        "models",
        "parameters",
        "plugin",
        "randomness",
        "requirements",
        "storage",
    ],
    "__init__": ["learner", "plugin", "runs"],
    "__main__": ["cli"],
    "cli": ["__init__", "errors", "learner", "registry", "report", "runs"],
}

# what speaks to a user of the command line alone
COMMAND_LINE = ("cli", "runs", "logging", "report")
WRITTEN_OPTION = re.compile(r"--(scenario|strategy|model|training|evaluation)\b")


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


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def part_of(module: str) -> str:
    """Return the package or module of the root that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def arrows() -> dict[str, set[str]]:
    """Return which of our modules each imports, anywhere in its file."""
    known = modules()
    return {
        module: {name for name in imported(path) if name in known} - {module}
        for module, path in known.items()
    }


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of a circle, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(graph.get(node, ())):
            if found := walk(target, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def files_only(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the arrows between files: `from package import module` is none to the package."""
    known = modules()
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    return {
        module: {t for t in targets if t not in packages or not module.startswith(f"{t}.")}
        for module, targets in graph.items()
    }


def test_packages_import_along_the_allowed_arrows_alone() -> None:
    for module, targets in arrows().items():
        allowed = {part_of(module), *ARROWS[part_of(module)], "__init__"}
        for target in targets:
            assert part_of(target) in allowed, f"{module} imports {target}"


def test_no_allowed_arrow_is_unused() -> None:
    used: dict[str, set[str]] = {part: set() for part in ARROWS}
    for module, targets in arrows().items():
        used[part_of(module)] |= {part_of(target) for target in targets}
    for part, allowed in ARROWS.items():
        assert set(allowed) <= used[part], part


def test_the_allowed_arrows_have_no_circle() -> None:
    assert circle_in({part: set(allowed) for part, allowed in ARROWS.items()}) == []


def test_no_file_imports_in_a_circle() -> None:
    assert circle_in(files_only(arrows())) == []


def test_the_search_for_circles_finds_one() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_few_files_lie_in_the_root() -> None:
    files = {path.name for path in (ROOT / "cl_suite").glob("*.py")}
    assert len(files - {"__init__.py", "__main__.py"}) <= 7


def test_losses_and_metrics_are_pure() -> None:
    for part in ("losses", "metrics"):
        assert ARROWS[part] == []
    for path in (ROOT / "cl_suite/metrics").glob("*.py"):
        assert not any(within(name, "torch") for name in imported(path)), path


def test_avalanche_is_imported_by_few_modules_and_never_with_the_package() -> None:
    users = {
        p.relative_to(ROOT).as_posix()
        for p in OURS
        if any(within(name, "avalanche") for name in imported(p, top_level_only=True))
    }
    assert users <= {f"cl_suite/avalanche/{name}.py" for name in ("api", "internals", "reader")}


def written_options(source: str) -> list[str]:
    """Return the texts in a file, docstrings apart, that name an option as the command line does.

    A program says `model.frozen=True`: `cl_suite.errors.option` knows which of the two to write.
    """
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and WRITTEN_OPTION.search(node.value)
    ]


def test_messages_that_a_program_can_meet_do_not_name_options_of_the_command_line() -> None:
    for module, path in modules().items():
        if part_of(module) not in COMMAND_LINE:
            assert written_options(path.read_text("utf-8")) == [], path


def test_an_option_of_the_command_line_in_a_message_is_found() -> None:
    found = """
def f(x):
    'Pass --model.bank.'
    raise UserError(f"{x} is wrong; pass --model.bank true", f"--strategy.{x}", "--resume")
"""
    assert written_options(found) == [" is wrong; pass --model.bank true", "--strategy."]


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
