"""The charts of a report, as SVG. They use no pyplot, so no global state is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from cl_suite.metrics.accuracy_matrix import FloatArray
from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.html.curves import Curve
from cl_suite.report.html.svg import (
    DASHES,
    INK,
    MUTED,
    NUM_COLOURS,
    SURFACE,
    colour,
    inline,
    mark_series,
    style,
)

SIZE = (5.2, 3.3)  # inches of 72 pixels
MOST_NAMED = 12  # more names do not fit beside their points
MOST_DOTS = 60  # more runs of a method are not drawn as dots
MOST_VALUES = 14  # sessions; more leave no room for a number in each cell
MOST_CELLS = 40  # sessions; more cells are one image
LONGEST_NAME = 20
PADDING = 0.3  # of the range of the means, above and below, that a band may take


@dataclass(frozen=True)
class Point:
    """A method in a chart of points.

    Attributes:
        method: its place, which gives its colour.
        name: its label.
        x, y: where its mean is.
        runs: where its runs are.
    """

    method: int
    name: str
    x: float
    y: float
    runs: Sequence[tuple[float, float]] = ()


def session_chart(
    name: str,
    label: str,
    curves: Mapping[int, Curve],
    second: Mapping[int, Curve] | None = None,
    *,
    unit: str = "per cent",
) -> str:
    """Return a figure's curves over the sessions with their bands.

    Args:
        name: begins the ids in the picture.
        label: what it shows, in words.
        curves: by the method's place.
        second: further curves, drawn thin and dashed.
        unit: "per cent", or nothing for figures that are no fractions.
    """
    factor = 100 if unit else 1
    with style():
        figure, axes = _axes("session", unit)
        for method, curve in curves.items():
            _draw_curve(axes, method, curve, factor)
        for method, curve in (second or {}).items():
            sessions = range(len(curve.mean))
            (line,) = axes.plot(
                sessions, factor * curve.mean, linewidth=1.2, linestyle=(0, (2, 1.5))
            )
            line.set_color(colour(method))
            mark_series(line, method)
        drawn = [*curves.values(), *(second or {}).values()]
        _limit(axes, drawn, factor)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        return inline(figure, name, label)


def base_against_new(name: str, points: Sequence[Point]) -> str:
    """Return base against new accuracy after the last session, and lines of one harmonic mean."""
    with style():
        figure, axes = _axes("base classes, per cent", "new classes, per cent")
        _draw_points(axes, points)
        for limits, set_limits in (
            (axes.get_xlim(), axes.set_xlim),
            (axes.get_ylim(), axes.set_ylim),
        ):
            high = min(104, 1.15 * max(8, limits[1]))
            set_limits(-0.025 * high, high)
        _harmonic_lines(axes)
        _name_points(figure, axes, points)
        label = "Accuracy on new classes against accuracy on base classes, a point a method"
        return inline(figure, name, label)


def forest(name: str, differences: Mapping[int, tuple[str, MeanInterval]]) -> str:
    """Return differences in average accuracy with their intervals, points, a row each.

    Args:
        name: begins the ids in the picture.
        differences: name and difference by the method's place.
    """
    with style():
        height = 0.75 + 0.3 * len(differences)
        figure, axes = _axes("points of average accuracy", "", height=height)
        means = [100 * interval.mean for _, interval in differences.values()]
        reach = 1.6 * max(1.0, *map(abs, means))
        for row, (method, (_, interval)) in enumerate(differences.items()):
            mean, half = 100 * interval.mean, 100 * np.nan_to_num(interval.half_width)
            parts = axes.plot([mean - half, mean + half], [row, row], linewidth=1.6)
            for part in (*parts, *axes.plot(mean, row, "o", markersize=7)):
                part.set_color(colour(method))
                mark_series(part, method)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_xlim(-reach, reach if max(means) > 0 else 0.25 * reach)
        axes.set_ylim(len(differences) - 0.4, -0.6)
        names = [_shortened(text) for text, _ in differences.values()]
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(False, axis="y")
        return inline(figure, name, "Differences in average accuracy to the best method")


def accuracy_against_cost(name: str, unit: str, points: Sequence[Point]) -> str:
    """Return average accuracy against a cost; a line joins those that no other one beats in both.

    Args:
        name: begins the ids in the picture.
        unit: what the cost counts.
        points: costs and accuracies.
    """
    with style():
        figure, axes = _axes(unit, "average accuracy, per cent")
        front = [points[i] for i in pareto_front([(point.x, point.y) for point in points])]
        axes.step(
            [p.x for p in front], [p.y for p in front], where="post", color=MUTED, linewidth=1
        )
        _draw_points(axes, points)
        costs = [point.x for point in points]
        if min(costs) > 0 and max(costs) > 20 * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.15)
        _name_points(figure, axes, points if len(points) <= MOST_NAMED else front[:MOST_NAMED])
        return inline(figure, name, f"Average accuracy against {unit}, a point a method")


def calibration_curves(
    name: str, label: str, points: Mapping[int, Sequence[tuple[float, float]]]
) -> str:
    """Return accuracy against confidence; the line through the corners is perfect calibration.

    Args:
        name: begins the ids in the picture.
        label: what it shows, in words.
        points: confidence and accuracy of each bin, fractions, by the method's place.
    """
    with style():
        figure, axes = _axes("confidence, per cent", "accuracy, per cent")
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        for method, own in points.items():
            x, y = (100 * np.array(values) for values in zip(*own, strict=True))
            dash = DASHES[min(method // NUM_COLOURS, len(DASHES) - 1)]
            (line,) = axes.plot(x, y, "o", color=colour(method), markersize=4.5, linestyle=dash)
            mark_series(line, method)
        axes.set(xlim=(-2, 102), ylim=(-2, 102))
        return inline(figure, name, label)


def heat_map(name: str, label: str, matrix: FloatArray, highest: int = 100) -> str:
    """Return an accuracy matrix as a picture, per cent.

    Args:
        name: begins the ids in the picture.
        label: what it shows, in words.
        matrix: fractions, `(num_sessions, num_sessions)`, NaN above the diagonal.
        highest: per cent at the bright end of the colours.
    """
    num = len(matrix)
    with style():
        figure, axes = _axes("classes of session", "after session", size=(3.2, 3.2))
        shown = np.ma.masked_invalid(100 * matrix)
        if num <= MOST_CELLS:
            edges = np.arange(num + 1) - 0.5
            width = 0.8 if num <= MOST_VALUES else 0.2
            mesh = axes.pcolormesh(edges, edges, shown, vmin=0, vmax=highest, cmap="viridis")
            mesh.set(edgecolors=SURFACE, linewidths=width)
        else:
            axes.imshow(shown, vmin=0, vmax=highest, cmap="viridis", interpolation="none")
        axes.set_xlim(-0.5, num - 0.5)
        axes.set_ylim(num - 0.5, -0.5)
        if num <= MOST_VALUES:
            _write_values(axes, matrix, highest)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        return inline(figure, name, label)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of the points that are cheaper or better than each other one, by cost.

    Args:
        points: cost and accuracy of each.

    Example:
        >>> pareto_front([(3, 0.9), (1, 0.5), (2, 0.4)])
        [1, 0]
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


# --- parts of charts ---


def _axes(
    x: str, y: str, *, height: float | None = None, size: tuple[float, float] = SIZE
) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(size[0], height or size[1]), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(length=3, pad=4)
    return figure, axes


def _draw_curve(axes: Axes, method: int, curve: Curve, factor: float) -> None:
    sessions, mean = np.arange(len(curve.mean)), factor * curve.mean
    half = factor * curve.half_width
    own = colour(method)
    if not np.isnan(half).all():
        band = axes.fill_between(sessions, mean - half, mean + half, color=own, linewidth=0)
        band.set_alpha(0.11)
        mark_series(band, method, band=True)
    dash = DASHES[min(method // NUM_COLOURS, len(DASHES) - 1)]
    marker = "o" if np.isfinite(mean).sum() <= 1 else None
    (line,) = axes.plot(sessions, mean, color=own, linestyle=dash, marker=marker)
    mark_series(line, method)


def _limit(axes: Axes, curves: Sequence[Curve], factor: float) -> None:
    """Show all means; bands of few seeds may be far wider than everything else, and are cut."""
    means = factor * np.concatenate([curve.mean for curve in curves])
    halves = factor * np.concatenate([np.nan_to_num(curve.half_width) for curve in curves])
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    room = max(0.01 * factor, PADDING * (high - low))
    bottom = max(float(np.nanmin(means - halves)), low - room)
    top = float(np.nanmax(means + halves))
    if low >= 0:
        bottom = max(bottom, 0)  # no accuracy is below, whatever its interval
    # at least four points high, so that a flat curve looks flat
    margin = max(0.04 * (high - low), (0.04 * factor - (high - low)) / 2)
    axes.set_ylim(bottom - margin, min(top, high + room) + margin)


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    for point in points:
        own = colour(point.method)
        if 1 < len(point.runs) <= MOST_DOTS:
            x, y = zip(*point.runs, strict=True)
            (dots,) = axes.plot(x, y, "o", color=own, markersize=3.5, alpha=0.45, markeredgewidth=0)
            mark_series(dots, point.method)
        (mean,) = axes.plot(point.x, point.y, "o", color=own, markersize=8)
        mean.set_markeredgecolor(SURFACE)
        mark_series(mean, point.method)


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Write names beside their points, moved up if they would overlap."""
    if len(points) > MOST_NAMED:
        return
    figure.draw_without_rendering()  # the layout decides where points lie
    box = axes.get_window_extent()
    pixel = figure.dpi / 72
    taken: list[tuple[float, float, float]] = []  # left, right, height of names
    for point in sorted(points, key=lambda p: p.y):
        x, y = axes.transData.transform((point.x, point.y)) / pixel
        text = _shortened(point.name)
        width, to_left = 6.2 * len(text), x > (box.x0 + 0.66 * box.width) / pixel
        left = x - 8 - width if to_left else x + 8
        height = y + 1
        while any(left < r and x0 < left + width and abs(height - h) < 12 for x0, r, h in taken):
            height += 3
        taken.append((left, left + width, height))
        named = axes.annotate(
            text,
            (point.x, point.y),
            xytext=(-8 if to_left else 8, height - y),
            textcoords="offset points",
            ha="right" if to_left else "left",
        )
        mark_series(named, point.method)


def _harmonic_lines(axes: Axes) -> None:
    """Draw lines on which the harmonic mean of base and new accuracy is the same."""
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    highest = 2 * right * top / (right + top)
    steps = [step for step in (1, 2, 5, 10, 20) if highest / step <= 8] or [20]
    for value in np.arange(steps[0], highest, steps[0]):
        base = np.linspace(value / 2 + 1e-6, right, 200)[1:]
        new = value * base / (2 * base - value)
        inside = new <= top
        if inside.any():
            axes.plot(base[inside], new[inside], color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)))
            end = (float(base[inside][-1]), float(new[inside][-1]))
            axes.annotate(
                f"{value:g}", end, xytext=(2, -3), textcoords="offset points", color=MUTED, size=8
            )
    axes.set(xlim=(-0.025 * right, right), ylim=(-0.025 * top, top))
    axes.grid(False)


def _write_values(axes: Axes, matrix: FloatArray, highest: int) -> None:
    size = 8.5 if len(matrix) <= 10 else 7
    for row, column in np.argwhere(~np.isnan(matrix)):
        value = 100 * matrix[row, column]
        # white on the dark half of the colours, black on the bright one
        ink = "#ffffff" if value < 0.6 * highest else "#111111"
        text = axes.text(column, row, f"{value:.0f}", color=ink, size=size)
        text.set(ha="center", va="center_baseline")


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
