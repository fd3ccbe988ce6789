"""The table of allowed imports, read from the test that keeps them."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

TEST = Path(__file__).resolve().parents[2] / "tests/test_architecture.py"


def arrows(path: Path = TEST) -> Mapping[str, Sequence[str]]:
    """Return which packages each package may import; empty if the test has no such table."""
    for node in ast.parse(path.read_text("utf-8")).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "ARROWS":
            found: Mapping[str, Sequence[str]] = ast.literal_eval(node.value)  # type: ignore[union-attr]
            return found
    return {}


def table(found: Mapping[str, Sequence[str]]) -> str:
    """Return the arrows as a Markdown table; nothing for none."""
    if not found:
        return ""
    rows = ["| package | may import |", "|---|---|"]
    for package, targets in found.items():
        rows.append(
            f"| `{package}` | {', '.join(f'`{t}`' for t in targets) or 'nothing of ours'} |"
        )
    return "\n".join(rows)
