"""The README's table: what each system gains over its baseline, on one ground or two.

The rows are the references of `benchmarks/reproduction.yaml` that have a `ground`, in its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from site_writer import reproduction_text as text

if TYPE_CHECKING:
    from site_writer.reproduction import Result
    from site_writer.reproduction_facts import System

BEGIN = "<!-- made by python docs/reproduction.py --write -->"
END = "<!-- end of what it made -->"
HEAD = ("system", "ground, figure", "ours", "baseline", "gain")


def table(found: Sequence[tuple[System, Sequence[Result]]]) -> str:
    """Return the table as Markdown; figures have one decimal.

    Args:
        found: systems with what their references name.

    Raises:
        ValueError: if a system was measured, but no reference has a ground.
    """
    lines = [text.row(HEAD), text.row(["---", "---", "---:", "---:", "---:"])]
    for system, results in found:
        link = f"[{system.name}](docs/reproduction.md#{text.anchor(system.name)})"
        shown = [_cells(result) for result in results if result.reference.ground]
        if results and not shown:
            raise ValueError(f"system '{system.name}': none of its references has a ground")
        first, *others = shown or [["not measured", "", "", ""]]
        lines += [text.row([link, *first]), *(text.row(["", *cells]) for cells in others)]
    return "\n".join(lines)


def inserted(page: str, table: str) -> str:
    """Return a page with the table between its two marks.

    Raises:
        ValueError: if the page does not have each mark once, in order.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end or BEGIN in rest or END in before + after:
        raise ValueError(f"the page must have '{BEGIN}' and '{END}' once, in this order")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _cells(result: Result) -> list[str]:
    column = result.table.columns[result.reference.figure]
    return [
        f"{result.reference.ground}; {column}",
        f"{result.row.label} {text.number(result.ours, 1)}",
        f"{result.baseline.label} {text.number(result.theirs, 1)}",
        text.gain(result.gain, 1),
    ]
