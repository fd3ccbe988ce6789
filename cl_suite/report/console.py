"""A console that prints text as it is, and tables whose lines a pipe gets whole."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table


def plain_console() -> Console:
    """Return a console for which `[x]` and `:x:` in a path are only text."""
    return Console(markup=False, emoji=False, highlight=False)


def dashboard_lines(out: Path) -> str:
    """Return how to see the dashboard; a session is one point, so smoothing is off.

    The second address gives the seeds of a strategy one colour.
    """
    return (
        f"dashboard: tensorboard --logdir {shlex.quote(str(out))}\n"
        "           then open http://localhost:6006/?smoothing=0#timeseries\n"
        "           a colour each strategy: "
        "http://localhost:6006/?smoothing=0&runColorGroup=regex:(.*)/seed#timeseries"
    )


def print_columns(
    console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]], right: str = ""
) -> None:
    """Print a table that fits the terminal, or, in a pipe, one whole line for each row.

    Args:
        right: titles of the columns whose cells stand to the right, separated by commas.
    """
    rows = list(rows)
    to_right = [title in right.split(",") for title in titles]
    if console.is_terminal:
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for title, moved in zip(titles, to_right, strict=True):
            table.add_column(title, justify="right" if moved else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [
            " " * (width - cell_len(cell)) + cell if moved else set_cell_size(cell, width)
            for cell, width, moved in zip(row, widths, to_right, strict=True)
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True)
