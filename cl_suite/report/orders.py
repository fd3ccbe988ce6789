"""The command `cl-suite orders`: class orders with look-alike classes apart and together."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cl_suite.report.one_run import empty_table
from cl_suite.runs.arguments import as_argument
from cl_suite.runs.benchmark.orders import class_means, order_of
from cl_suite.runs.folder import find_runs


def print_orders(path: Path, console: Console) -> None:
    """Print the orders that follow from the class means of a finished run, as options of `run`.

    Raises:
        UserError: if no run is finished, or its head lacks the mean of a class.
    """
    (folder, *_) = find_runs([path])
    means = class_means(folder)
    orders = {"as it came": order_of(folder), **means.orders()}
    table = empty_table("order", "base overlap", "cosine within sessions")
    for name, order in orders.items():
        found = means.describe(order)
        table.add_row(Text(name), f"{found['overlap']:.3f}", f"{found['within']:.3f}")
    console.print(table)
    for name in ("apart", "together"):
        option = as_argument("scenario.class_order", orders[name]).replace(" ", "")
        console.print(f"\n{name}:\n{option}", soft_wrap=True, highlight=False)
