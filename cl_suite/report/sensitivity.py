"""The command `cl-suite sensitivity`: which tensors move when the session changes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from cl_suite.errors import UserError
from cl_suite.models.dynamics import Sensitivity, most_sensitive, sensitivities
from cl_suite.report.one_run import empty_table
from cl_suite.runs.folder import RunFolder
from cl_suite.storage.files import atomic_write

MOST_ROWS = 20
BUDGET = 0.01


def print_sensitivity(path: Path, console: Console, *, everything: bool = False) -> None:
    """Print the most sensitive tensors of a run, and draw all of them into its folder.

    Raises:
        UserError: if the folder holds no run, or the run has recorded too little.
    """
    folder = RunFolder(path)
    if not folder.is_run:
        raise UserError(f"there is no run in '{path}'; pass a run folder, such as .../seed0")
    try:
        found = sensitivities(folder.read_dynamics())
    except ValueError as error:
        raise UserError(f"run '{path}' has no sensitivity data: {error}") from error
    chosen = most_sensitive(found, BUDGET)
    shown = found if everything else found[:MOST_ROWS]
    table = empty_table("tensor", "numbers", "within", "across", "score", "1 %")
    table.columns[0].max_width = 34
    for each in shown:
        mark = "yes" if each.name in chosen else ""
        table.add_row(
            each.name,
            f"{each.size:,}",
            f"{each.within:.2e}",
            f"{each.across:.2e}",
            f"{each.score:.2f}",
            mark,
        )
    console.print(table)
    console.print()
    if len(shown) < len(found):
        console.print(f"{len(shown)} of {len(found)} tensors; --all prints the rest")
    picture = path / "sensitivity.png"
    atomic_write(picture, _png(sensitivity_figure(found)))
    text = (
        "Mean absolute change in an epoch: within sessions, and in the first epoch of a session; "
        "the score is their ratio.\nThe most sensitive tensors are marked; together they have 1 % "
        f"of the numbers ({len(chosen)}).\npicture: {picture}"
    )
    console.print(Text(text), soft_wrap=True)


def sensitivity_figure(found: Sequence[Sensitivity]) -> Figure:
    """Return a picture of every tensor's score, in the order of the network."""
    ordered = sorted(found, key=lambda each: _natural(each.name))
    height = max(2.5, 0.2 * len(ordered) + 1.2)
    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(ordered))
    colours = ["#b5432a" if _is_norm(each.name) else "#2a6fb5" for each in ordered]
    axes.barh(places, [max(each.score, 1e-3) for each in ordered], color=colours, height=0.7)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(places, [each.name for each in ordered], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(
        "change in the first epoch of a session, over that of other epochs (1: no jump); "
        "red: statistics of normalisation",
        fontsize=8,
    )
    axes.margins(y=0.01)
    return figure


def _is_norm(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def _natural(name: str) -> list[tuple[int, str]]:
    # layer 10 after layer 9; the head last
    parts = [(int(p), "") if p.isdecimal() else (-1, p) for p in name.split(".")]
    return [(int(name.startswith("head.")), ""), *parts]


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
