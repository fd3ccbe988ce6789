"""Which charts a page has of a stream: each takes its figures from where the tables do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cl_suite.report.costs import cost
from cl_suite.report.html import plots, points
from cl_suite.report.html.curves import (
    Curve,
    after_sessions,
    calibration_points,
    confidence_curves,
    curves_of,
    mean_matrix,
)
from cl_suite.report.streams import COMPARED, StreamRuns

# figures after each session, by the heading under which they stand
OVER_SESSIONS: Mapping[str, Mapping[str, str]] = {
    "sessions": {
        "accuracy": "Accuracy, all classes seen",
        "harmonic": "Harmonic mean of base and new",
        "gacc": "gAcc",
    },
    "base_new": {"base": "Accuracy, base classes", "new": "Accuracy, new classes"},
    "forgetting": {
        "forgetting": "Forgetting",
        "backward": "Backward transfer (BWT)",
        "retention": "Retention of the first accuracy",
    },
}
# of the costs, those that a method decides; its title
PRICES: Mapping[str, str] = {
    "train s": "Average accuracy against training time, seconds",
    "kept MB": "Average accuracy against what is kept, MB",
    "trained k": "Average accuracy against trained parameters, thousands",
    "memory MB": "Average accuracy against peak memory, MB",
}
CALIBRATION: Mapping[str, str] = {
    "bins": "Calibration curve, as they are",
    "scaled_bins": "Calibration curve, at the fitted temperature",
}
PROBABILITIES: Mapping[str, str] = {
    "ece": "Expected calibration error (ECE)",
    "log_loss": "Log loss",
    "brier": "Brier score",
}


@dataclass(frozen=True)
class Chart:
    """A picture, its title, and a sentence below it."""

    title: str
    svg: str
    note: str = ""


def charts_of(stream: StreamRuns, name: str) -> dict[str, list[Chart]]:
    """Return the charts of a stream by the heading under which they stand.

    A chart without anything to show is left out.

    Args:
        name: begins the ids in the pictures.
    """
    over = _over_sessions(stream, name)
    return {
        "differences": list(_differences(stream, f"{name}-differences")),
        **over,
        "base_new": [*_base_against_new(stream, f"{name}-points"), *over["base_new"]],
        "confidence": list(_confidence(stream, f"{name}-confidence")),
        "costs": list(_costs(stream, f"{name}-cost")),
    }


def matrices_of(stream: StreamRuns, name: str) -> tuple[list[Chart], int]:
    """Return the mean accuracy matrix of each method as a heat map, all in the same colours.

    Returns:
        The charts, and the per cent at the bright end of their colours.
    """
    matrices = [mean_matrix(method) for method in stream.methods]
    largest = max((float(np.nanmax(m)) for m in matrices if np.isfinite(m).any()), default=1)
    highest = max(10, 10 * math.ceil(10 * largest - 1e-9))
    found = []
    for place, (method, matrix) in enumerate(zip(stream.methods, matrices, strict=True)):
        label = f"Accuracy matrix of {method.label}, per cent"
        svg = plots.heat_map(f"{name}-matrix{place}", label, matrix, highest)
        found.append(Chart(method.label, svg))
    return found, highest


def _differences(stream: StreamRuns, name: str) -> Iterator[Chart]:
    if len(stream.methods) < 2:
        return
    place = {method.label: i for i, method in enumerate(stream.methods)}
    found = {}
    for difference in stream.differences({"average": COMPARED["average"]}):
        interval = difference.figures["average"]
        if interval is not None and not math.isnan(interval.mean):
            found[place[difference.label]] = (difference.label, interval)
    if found:
        yield Chart(
            f"Average accuracy minus that of {stream.best.label}",
            points.forest(name, found),
            "Lines are 95 % intervals of the paired difference.",
        )


def _over_sessions(stream: StreamRuns, name: str) -> dict[str, list[Chart]]:
    curves = [curves_of(method) for method in stream.methods]
    found: dict[str, list[Chart]] = {heading: [] for heading in OVER_SESSIONS}
    for heading, titles in OVER_SESSIONS.items():
        for figure, title in titles.items():
            own = {i: each[figure] for i, each in enumerate(curves) if _is_curve(each[figure])}
            if own:
                svg = plots.session_chart(f"{name}-{figure}", f"{title}, by session", own)
                found[heading].append(Chart(title, svg))
    return found


def _base_against_new(stream: StreamRuns, name: str) -> Iterator[Chart]:
    drawn = []
    for place, method in enumerate(stream.methods):
        found = [after_sessions(run.hits) for run in method.runs]
        ends = 100 * np.array([[run["base"][-1], run["new"][-1]] for run in found])
        if not np.isnan(ends).any():
            runs = [(float(x), float(y)) for x, y in ends]
            x, y = ends.mean(axis=0)
            drawn.append(points.Point(place, method.label, float(x), float(y), runs))
    if drawn:
        yield Chart(
            "Base against new, after the last session",
            points.base_against_new(name, drawn),
            "Dashed lines join equal harmonic means; small dots are single runs.",
        )


def _confidence(stream: StreamRuns, name: str) -> Iterator[Chart]:
    if stream.probe:
        return  # a probe's probabilities are not measured
    for bins, title in CALIBRATION.items():
        found = {i: calibration_points(method, bins) for i, method in enumerate(stream.methods)}
        own = {place: curve for place, curve in found.items() if curve}
        if own:
            yield Chart(title, plots.calibration_curves(f"{name}-{bins}", title, own))
    for figure, title in PROBABILITIES.items():
        scaled_figure = f"scaled_{figure}"
        plain: dict[int, Curve] = {}
        scaled: dict[int, Curve] = {}
        for place, method in enumerate(stream.methods):
            curves = confidence_curves(method, (figure, scaled_figure))
            if curves and _is_curve(curves[figure]):
                plain[place], scaled[place] = curves[figure], curves[scaled_figure]
        if plain:
            unit = "per cent" if figure == "ece" else ""
            label = f"{title}, by session"
            svg = plots.session_chart(f"{name}-{figure}", label, plain, scaled, unit=unit)
            yield Chart(title, svg)


def _costs(stream: StreamRuns, name: str) -> Iterator[Chart]:
    if len(stream.methods) < 2:
        return
    averages = [100 * method.interval(COMPARED["average"]).mean for method in stream.methods]
    for column, title in PRICES.items():
        drawn = [
            points.Point(place, method.label, price, average)
            for place, (method, average) in enumerate(zip(stream.methods, averages, strict=True))
            if (price := cost(method.runs, column)) is not None and not math.isnan(average)
        ]
        known = [point.x for point in drawn]
        if known and max(known) > 1.01 * min(known):
            yield Chart(
                title, points.accuracy_against_cost(f"{name}-{column.split()[0]}", column, drawn)
            )


def _is_curve(curve: Curve) -> bool:
    """Return whether there are at least two points to join."""
    return int(np.isfinite(curve.mean).sum()) > 1
