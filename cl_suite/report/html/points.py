"""The charts of a report in which a method is a point, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.html.svg import (
    INK,
    MUTED,
    SURFACE,
    colour,
    inline,
    mark_series,
    new_axes,
    style,
)

MOST_NAMED = 12  # more names do not fit beside their points
MOST_DOTS = 60  # more runs of a method are not drawn as dots
LONGEST_NAME = 20


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


def base_against_new(name: str, points: Sequence[Point]) -> str:
    """Return base against new accuracy after the last session, and lines of one harmonic mean."""
    with style():
        figure, axes = new_axes("base classes, per cent", "new classes, per cent")
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
        figure, axes = new_axes("points of average accuracy", "", height=height)
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
        figure, axes = new_axes(unit, "average accuracy, per cent")
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


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
