"""Writes the tables of a report as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from cl_suite.report.html.tables import Cell, Table, tables_of
from cl_suite.report.streams import StreamRuns

TABLE_HEAD = ("scenario", "parameters", "measured_by", "table", "caption")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}


def markdown(streams: Sequence[StreamRuns], notes: Sequence[str]) -> str:
    """Return the tables as Markdown, a heading for each stream."""
    parts = []
    for stream in streams:
        parts.append(f"## {_markdown(title(stream))}")
        for table in tables_of(stream):
            parts += [f"{_markdown(table.caption)}:", markdown_table(table)]
    parts += [_markdown(note) for note in notes]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table, escaped: Callable[[str], str] | None = None) -> str:
    """Return a table as Markdown, without its caption; the best of a column is bold.

    Args:
        escaped: makes Markdown of a cell's text; None for texts that are not Markdown yet.
    """
    escaped = escaped or _markdown
    numbers = len(table.columns) - table.names
    lines = [_row([*table.columns]), _row(["---"] * table.names + ["---:"] * numbers)]
    lines += [_row([_bold(cell, "**{}**", escaped) for cell in row]) for row in table.rows]
    return "\n".join(lines)


def comma_separated(streams: Sequence[StreamRuns], notes: Sequence[str]) -> str:
    """Return the tables as CSV, a line a number; the notes are left out.

    Numbers are in full and in the unit of their table. A name that a spreadsheet would take for a
    formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*TABLE_HEAD, "method", "column", "value", "half_width"))
    for stream in streams:
        run = stream.first
        head = [run.scenario_name, stream.parameters, run.measured_by]
        for table in tables_of(stream):
            for name, *cells in table.rows:
                for column, cell in zip(table.columns[1:], cells, strict=True):
                    texts = [*head, table.kind, table.caption, name.text, column]
                    numbers = (cell.value, cell.half_width)
                    writer.writerow((*map(_plain, texts), *map(_number, numbers)))
    return text.getvalue()


def latex(streams: Sequence[StreamRuns], notes: Sequence[str]) -> str:
    r"""Return the tables as LaTeX for the package booktabs, the notes as comments."""
    parts = [r"% needs \usepackage{booktabs}", *(f"% {_one_line(note)}" for note in notes)]
    for stream in streams:
        for table in tables_of(stream):
            caption = _latex(f"{title(stream)}. {table.caption}.")
            right = "r" * (len(table.columns) - 1)
            lines = [" & ".join(map(_latex, table.columns))]
            lines += [
                " & ".join(_bold(cell, r"\textbf{{{}}}", _latex) for cell in row)
                for row in table.rows
            ]
            head, *body = (rf"  {line} \\" for line in lines)
            parts.append(
                "\n".join(
                    [
                        r"\begin{table}",
                        r"  \centering",
                        rf"  \caption{{{caption}}}",
                        rf"  \begin{{tabular}}{{l{right}}}",
                        *(r"  \toprule", head, r"  \midrule", *body, r"  \bottomrule"),
                        r"  \end{tabular}",
                        r"\end{table}",
                    ]
                )
            )
    return "\n\n".join(parts) + "\n"


WRITERS: Mapping[str, Callable[[Sequence[StreamRuns], Sequence[str]], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
}


def title(stream: StreamRuns) -> str:
    """Return the scenario, what tells it from others of its name, and what measured it."""
    name = stream.first.scenario_name
    parameters = f" ({stream.parameters})" if stream.parameters else ""
    return f"{name}{parameters}" + (f", by {stream.probe}" if stream.probe else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _bold(cell: Cell, pattern: str, escaped: Callable[[str], str]) -> str:
    text = escaped(cell.text)
    return pattern.format(text) if cell.mark == "best" else text


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _one_line(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in _one_line(text))


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
