"""The API reference: one page a part of the package, a directive a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "cl_suite",
    "cl_suite.plugin",
    "cl_suite.parameters",
    "cl_suite.requirements",
    "cl_suite.registry",
    "cl_suite.avalanche",
    "cl_suite.data.stream",
    "cl_suite.data.samples",
    "cl_suite.models.classifier",
    "cl_suite.features",
    "cl_suite.losses",
    "cl_suite.metrics",
    "cl_suite.methods",
    "cl_suite.engine",
    "cl_suite.runs.saved_model",
    "cl_suite.testing",
)


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of each part that exists."""
    for part in PARTS:
        modules = list(_modules(part))
        if modules:
            yield part, f"# `{part}`\n\n" + "\n".join(_directive(m, m == part) for m in modules)


def summary() -> str:
    """Return the navigation of the reference."""
    return "".join(f"- [{name}]({name}.md)\n" for name, _ in pages())


def _modules(part: str) -> Iterator[str]:
    """Yield the dotted names of a part's modules, itself first; of the package as such it alone."""
    path = ROOT.joinpath(*part.split("."))
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        yield part
    if path.is_dir() and part != "cl_suite":
        for file in sorted(path.rglob("*.py")):
            names = file.relative_to(ROOT).with_suffix("").parts
            if not names[-1].startswith("_"):
                yield ".".join(names)


def _directive(module: str, is_page: bool) -> str:
    shown = str(not is_page).lower()
    options = f"show_root_toc_entry: {shown}\n      show_root_heading: {shown}"
    return f"::: {module}\n    options:\n      {options}\n"
