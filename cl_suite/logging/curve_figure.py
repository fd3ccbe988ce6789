"""A picture of curves over sessions: each measure in a panel, its seeds, their mean and range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cl_suite.logging.figures import DOTS_PER_INCH

COLUMNS = 2  # of panels
PANEL = (4.8, 3.2)  # inches
COLOUR = "tab:blue"


def curve_figure(
    curves: Mapping[str, NDArray[np.float64]], seeds: Sequence[int], title: str
) -> Figure:
    """Return a picture with a panel a measure, whole from session 0 on.

    Args:
        curves: fractions by measure, `(num_seeds, num_sessions)`, NaN where undefined.
        seeds: of the rows.
    """
    rows = -(-len(curves) // COLUMNS)
    size = (COLUMNS * PANEL[0], rows * PANEL[1])
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(f"{title}: mean of seeds {', '.join(map(str, seeds))}, lowest to highest")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (measure, values) in zip(panels, curves.items(), strict=False):
        _draw(axes, measure, 100 * values)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    return figure


def _draw(axes: Axes, measure: str, values: NDArray[np.float64]) -> None:
    sessions = np.arange(values.shape[1])
    # NaN spreads: a mean is drawn where every seed has a value
    low, mean, high = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
    axes.fill_between(sessions, low, high, color=COLOUR, alpha=0.2, linewidth=0)
    axes.plot(sessions, values.T, color=COLOUR, alpha=0.35, linewidth=0.8)
    axes.plot(sessions, mean, color=COLOUR, linewidth=2, marker="o", markersize=3)
    axes.set_title(measure)
    axes.set_xlabel("session")
    axes.set_ylabel("points" if measure == "forgetting" else "per cent")
    axes.grid(alpha=0.3)
    axes.margins(y=0.08)
