"""The dashboard's pictures: accuracy matrix and confusion matrix, as matplotlib figures.

They use no pyplot, so neither a display nor global state is touched.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

DOTS_PER_INCH = 100
PLOT_PIXELS = 720  # a picture's matrix is at least this wide, so the text around it fits
MOST_NAMES = 100  # more class names than this do not fit next to the matrix
BAR_PIXELS = 19  # width of the colour bar, and of the gap before it
NAME_PIXELS = 13  # height of the smallest name that can be read
MOST_SESSIONS = 360  # more do not have two pixels each
MOST_BOUNDARIES = 120  # more lines would hide what is between them
MOST_VALUES = 16  # more sessions than this leave no room for a number in each cell
LONGEST_NAME = 18


def accuracy_matrix_figure(matrix: NDArray[np.float64]) -> Figure:
    """Return a picture of the accuracy matrix; of very many sessions, of every second or third.

    Args:
        matrix: fractions, `(num_sessions, num_sessions)`, NaN above the diagonal.
    """
    num_sessions = len(matrix)
    step = -(-num_sessions // MOST_SESSIONS)
    # counted from the last session, which is always shown
    shown = range((num_sessions - 1) % step, num_sessions, step)
    matrix = matrix[np.ix_(shown, shown)]
    # a whole number of pixels for each session: otherwise some rows are drawn wider than others
    pixels = len(shown) * -(-PLOT_PIXELS // len(shown))
    figure, axes = _square_axes(pixels, left=90, bottom=70)
    image = axes.imshow(100 * matrix, vmin=0, vmax=100, cmap="viridis", interpolation="nearest")
    if num_sessions <= MOST_VALUES:
        for row, column in np.argwhere(~np.isnan(matrix)):
            value = 100 * matrix[row, column]
            # white on the dark half of the colours, black on the bright one
            colour = "white" if value < 60 else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    ticks = range(0, len(shown), 1 + len(shown) // 25)
    labels = [str(shown[tick]) for tick in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set_xlabel("test images of the classes of session")
    axes.set_ylabel("after session")
    thinned = f", every {step} sessions" if step > 1 else ""
    axes.set_title(f"accuracy after session {num_sessions - 1}, per cent{thinned}")
    _colour_bar(figure, axes, image, "accuracy, per cent", range(0, 101, 10))
    return figure


def confusion_figure(
    confusion: NDArray[np.int64], class_names: Sequence[str], session_sizes: Sequence[float]
) -> Figure:
    """Return a picture of the confusion matrix, each row divided by its sum.

    Colours grow with the square root, so a mistake made once in a hundred stays visible.

    Args:
        confusion: images of class `i` predicted as class `j`, `(num_seen, num_seen)`, in order of
            arrival.
        class_names: one for each row; drawn if there is room.
        session_sizes: number of classes of each session, in the same order; drawn as boundaries.
    """
    num_classes = len(confusion)  # or blocks of classes, if there are many
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    named = num_classes == len(class_names) <= MOST_NAMES
    # a whole number of pixels for each class: otherwise some rows are drawn wider than others
    pixels = num_classes * max(NAME_PIXELS if named else 2, -(-PLOT_PIXELS // num_classes))
    margin = 175 if named else 80
    figure, axes = _square_axes(pixels, left=margin, bottom=margin)
    image = axes.imshow(
        100 * shares, norm=PowerNorm(0.5, vmin=0, vmax=100), cmap="magma", interpolation="nearest"
    )
    _draw_boundaries(axes, session_sizes)
    if named:
        _name_ticks(axes, class_names)
    else:
        _number_sessions(axes, session_sizes)
    in_a_row = -(-len(class_names) // num_classes)
    shared = f", {in_a_row} a row" if in_a_row > 1 else ""
    title = f"confusion after session {len(session_sizes) - 1}, {len(class_names)} classes{shared}"
    axes.set_title(title)
    ticks = (0, 1, 5, 10, 25, 50, 75, 100)
    _colour_bar(figure, axes, image, "share of the class's images, per cent", ticks)
    return figure


def to_image(figure: Figure) -> NDArray[np.uint8]:
    """Return the picture's pixels, `(height, width, 3)`."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes; no warning for each letter
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="rgba", dpi=DOTS_PER_INCH)
    width, height = figure.canvas.get_width_height()
    pixels = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    return np.array(pixels.reshape(height, width, 4)[..., :3])


def _square_axes(pixels: int, *, left: int, bottom: int) -> tuple[Figure, Axes]:
    """Return a figure with square axes of this many pixels, and room for a colour bar."""
    width, height = left + pixels + 120, bottom + pixels + 50
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((left / width, bottom / height, pixels / width, pixels / height))
    return figure, axes


def _colour_bar(
    figure: Figure, axes: Axes, image: AxesImage, label: str, ticks: Sequence[int]
) -> None:
    box = axes.get_position()
    width = BAR_PIXELS / (DOTS_PER_INCH * figure.get_figwidth())
    bar = figure.add_axes((box.x1 + width, box.y0, width, box.height))
    figure.colorbar(image, cax=bar, ticks=list(ticks), format="%g", label=label)


def _draw_boundaries(axes: Axes, session_sizes: Sequence[float]) -> None:
    if len(session_sizes) > MOST_BOUNDARIES:
        return
    for end in np.cumsum(session_sizes)[:-1]:
        axes.axhline(end - 0.5, color="deepskyblue", linewidth=0.6)
        axes.axvline(end - 0.5, color="deepskyblue", linewidth=0.6)


def _name_ticks(axes: Axes, class_names: Sequence[str]) -> None:
    # a class may be called "$100 bill": that is not a formula
    names = [_shortened(name) for name in class_names]
    size = 8 if len(names) <= 40 else 7
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def _number_sessions(axes: Axes, session_sizes: Sequence[float]) -> None:
    ends = np.cumsum(session_sizes)
    centres = ends - np.asarray(session_sizes) / 2 - 0.5
    every = 1 + len(session_sizes) // 30
    ticks, labels = centres[::every], [str(i) for i in range(0, len(session_sizes), every)]
    axes.set_xticks(ticks, labels, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.set_xlabel("session of the predicted class")
    axes.set_ylabel("session of the true class")


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
