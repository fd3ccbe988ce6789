"""The charts of a report in which a method is a curve or a matrix, as SVG.

Like those of `points` they use no pyplot, so no global state is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from cl_suite.metrics.accuracy_matrix import FloatArray
from cl_suite.report.html.curves import Curve
from cl_suite.report.html.svg import (
    DASHES,
    MUTED,
    NUM_COLOURS,
    SURFACE,
    colour,
    inline,
    mark_series,
    new_axes,
    style,
)

MOST_VALUES = 14  # sessions; more leave no room for a number in each cell
MOST_CELLS = 40  # sessions; more cells are one image
MOST_PIXELS = 240  # sessions; of more, as many are drawn
PADDING = 0.3  # of the range of the means, above and below, that a band may take


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
        figure, axes = new_axes("session", unit)
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
        figure, axes = new_axes("confidence, per cent", "accuracy, per cent")
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
        figure, axes = new_axes("classes of session", "after session", size=(3.2, 3.2))
        if num <= MOST_CELLS:
            axes.add_collection(_cells(matrix, highest))
        else:
            # of very many sessions, some: a screen has no pixels for more
            some = np.linspace(0, num - 1, min(num, MOST_PIXELS)).round().astype(int)
            cells = np.ma.masked_invalid(100 * matrix[np.ix_(some, some)])
            image = axes.imshow(cells, vmin=0, vmax=highest, cmap="viridis", interpolation="none")
            image.set_extent((-0.5, num - 0.5, num - 0.5, -0.5))
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


# --- parts of charts ---


def _cells(matrix: FloatArray, highest: int) -> PolyCollection:
    """Return a square for each number of a matrix; a mesh would draw the empty ones too."""
    rows, columns = np.nonzero(~np.isnan(matrix))
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    squares = np.stack([columns, rows], axis=1)[:, None] + corners
    cells = PolyCollection(list(squares), array=100 * matrix[rows, columns], cmap="viridis")
    cells.set_clim(0, highest)
    cells.set(edgecolors=SURFACE, linewidths=0.8 if len(matrix) <= MOST_VALUES else 0.2)
    return cells


def _draw_curve(axes: Axes, method: int, curve: Curve, factor: float) -> None:
    sessions, mean = np.arange(len(curve.mean)), factor * curve.mean
    half = factor * curve.half_width
    own = colour(method)
    if not np.isnan(half).all():
        band = axes.fill_between(sessions, mean - half, mean + half, color=own, linewidth=0)
        band.set_alpha(0.11)
        mark_series(band, method, band=True)
    dash = DASHES[min(method // NUM_COLOURS, len(DASHES) - 1)]
    (line,) = axes.plot(sessions, mean, color=own, linestyle=dash)
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
        bottom = max(bottom, 0)  # an accuracy cannot be below, whatever its interval
    # at least four points high: a nearly constant curve should look flat
    margin = max(0.04 * (high - low), (0.04 * factor - (high - low)) / 2)
    axes.set_ylim(bottom - margin, min(top, high + room) + margin)


def _write_values(axes: Axes, matrix: FloatArray, highest: int) -> None:
    size = 8.5 if len(matrix) <= 10 else 7
    for row, column in np.argwhere(~np.isnan(matrix)):
        value = 100 * matrix[row, column]
        # white on the dark half of the colours, black on the bright one
        ink = "#ffffff" if value < 0.6 * highest else "#111111"
        text = axes.text(column, row, f"{value:.0f}", color=ink, size=size)
        text.set(ha="center", va="center_baseline")
