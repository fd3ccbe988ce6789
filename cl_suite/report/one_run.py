"""The tables of one run: sessions, accuracy matrix and summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.metrics.headline import headline
from cl_suite.report.loaded_run import LoadedRun
from cl_suite.runs.folder import SessionRecord

# sessions that fit into 80 columns, with a digit after the point and without
MOST_WITH_DIGIT, MOST_WITHOUT = 11, 16


def one_run(run: LoadedRun, *, everything: bool = False) -> Group:
    """Return a run's figures by session, its accuracy matrix and a summary.

    Args:
        everything: the less common figures too.
    """
    title = Text(f"{run.scenario_name} / {run.strategy_name}, seed {run.seed}", style="bold")
    if not run.finished:
        title.append(f"  (unfinished: {len(run.records)} sessions done)", style="yellow")
    parts: list[RenderableType] = [title]
    if run.measured_by != "its classifier":
        parts.append(Text(f"accuracies are those of {run.measured_by}"))
    if run.trouble:
        parts.append(Text(f"note: {run.trouble}", style="yellow"))
    parts += [Text(), _session_table(run.records), Text(), *_matrix_table(run.hits), Text()]
    parts.append(_headline_table(run.hits, everything))
    if everything and run.records and (found := run.records[-1]).new_as_base is not None:
        shares = f"{per_cent(found.new_as_base)} % of the later classes' test images are called a"
        parts.append(Text(f"{shares} base class, {per_cent(found.base_as_new)} % the reverse"))
    if everything and run.confidence:
        parts += [Text(), Text("its probabilities"), _confidence_table(run.confidence)]
    for name, hits in run.probes.items():
        parts += [Text(), Text(f"by {IN_WORDS[name]}"), _headline_table(hits, everything)]
    return Group(*parts)


def _session_table(records: Sequence[SessionRecord]) -> Table:
    table = empty_table(
        "session", "classes", "all", "base", "new", "harmonic", "forgetting", "train s", "test s"
    )
    for record in records:
        fractions = (record.accuracy, record.base, record.new, record.harmonic, record.forgetting)
        table.add_row(
            str(record.session),
            str(record.seen_classes),
            *map(per_cent, fractions),
            f"{record.seconds_train:.1f}",
            f"{record.seconds_eval:.1f}",
        )
    return table


def _matrix_table(hits: Hits) -> Iterator[RenderableType]:
    matrix, _ = accuracy_matrix(hits)
    num_sessions = len(matrix)
    digits = 1 if num_sessions <= MOST_WITH_DIGIT else 0
    num_shown = min(num_sessions, MOST_WITHOUT)
    shown = np.linspace(0, num_sessions - 1, num_shown).round().astype(int).tolist()
    yield Text("accuracy matrix, per cent: after a session (row) on the classes of one (column)")
    table = empty_table("after", *map(str, shown))
    for row in shown:
        values = [100 * matrix[row, column] for column in shown if column <= row]
        table.add_row(str(row), *("-" if np.isnan(v) else f"{v:.{digits}f}" for v in values))
    yield table
    if num_shown < num_sessions:
        yield Text(f"{num_shown} of {num_sessions} sessions; all are in accuracy_matrix.npy")


def _headline_table(hits: Hits, everything: bool) -> Table:
    figures = headline(hits)
    rows = [
        ("average accuracy", figures.average, "%", "mean over sessions, the base one included"),
        ("last accuracy", figures.last, "%", "over the test images of all classes"),
        ("performance drop", figures.drop, "points", "first session minus last"),
        ("harmonic mean", figures.harmonic, "%", "of base and new, after the last session"),
        ("forgetting", figures.forgetting, "points", "since the best, mean over sessions"),
    ]
    if everything:
        rows += [
            ("gAcc", figures.gacc, "%", "each weight of the base classes, averaged"),
            ("retention", figures.retention, "%", "last accuracy over the base session's"),
            ("BWT", figures.backward, "points", "last minus first accuracy of each session"),
        ]
    if everything or len(set(hits.counts[hits.session_of_class >= 0])) > 1:
        rows.insert(2, ("last, macro", figures.last_macro, "%", "mean over classes"))
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    for name, value, unit, meaning in rows:
        table.add_row(name, per_cent(value), unit, f"  {meaning}")
    return table


def _confidence_table(found: Mapping[str, float | None]) -> Table:
    """Return the figures of confidence, as they are and at the temperature fitted."""
    scale = found["scale"]
    table = empty_table("", "as they are", "scaled" if scale is None else f"scores x {scale:.3g}")
    rows = {
        "ece": "ECE, %",
        "ece_mass": "ECE, equal mass",
        "log_loss": "log loss",
        "brier": "Brier score",
    }
    for name, label in rows.items():
        factor = 100 if name.startswith("ece") else 1
        values = [found[key] for key in (name, f"scaled_{name}")]
        table.add_row(label, *("-" if v is None else f"{factor * v:.3f}" for v in values))
    return table


def empty_table(first: str, *columns: str) -> Table:
    """Return an empty table of these columns, numbers to the right, within 80 characters."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold", max_width=16)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def per_cent(fraction: float | None) -> str:
    """Return a fraction in per cent, or a dash if it is undefined."""
    return "-" if fraction is None or np.isnan(fraction) else f"{100 * fraction:.2f}"
