"""The dashboard's pictures."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from cl_suite.logging.figures import accuracy_matrix_figure, confusion_figure, to_image


def lower_triangle(num_sessions: int) -> NDArray[np.float64]:
    return np.where(np.tri(num_sessions, dtype=bool), 0.5, np.nan)


def texts(figure: object) -> list[str]:
    axes = figure.axes[0]  # type: ignore[attr-defined]
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("num_sessions", [1, 9, 60])
def test_an_accuracy_matrix_becomes_pixels(num_sessions: int) -> None:
    pixels = to_image(accuracy_matrix_figure(lower_triangle(num_sessions)))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert len(np.unique(pixels)) > 1


def test_values_stand_in_the_cells_below_the_diagonal_only() -> None:
    matrix = np.array([[0.9, np.nan], [0.85, 0.625]])
    assert sorted(texts(accuracy_matrix_figure(matrix))) == ["62.5", "85.0", "90.0"]


def test_many_sessions_have_no_room_for_values() -> None:
    assert texts(accuracy_matrix_figure(lower_triangle(40))) == []


def test_a_confusion_matrix_is_divided_by_the_rows_sums() -> None:
    figure = confusion_figure(np.array([[30, 10], [0, 0]]), ["a", "b"], [1, 1])
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(np.asarray(shown), [[75, 25], [0, 0]])


def test_boundaries_are_drawn_between_sessions() -> None:
    figure = confusion_figure(np.eye(6, dtype=np.int64), list("abcdef"), [3, 2, 1])
    # one line across and one down for each of the two boundaries
    assert len(figure.axes[0].lines) == 4


def test_each_class_is_as_wide_as_any_other() -> None:
    # 242 classes of Omniglot: 142 base classes and ten sessions of ten
    confusion = np.eye(242, dtype=np.int64)
    figure = confusion_figure(confusion, [str(i) for i in range(242)], [142] + [10] * 10)
    width = figure.axes[0].get_window_extent().width
    assert width / 242 == pytest.approx(round(width / 242))
    assert width >= 2 * 242
    assert to_image(figure).max() > 0


def test_odd_class_names_are_drawn_as_they_are_without_a_word() -> None:
    names = ["$100 $bill", "^{", "\N{SNOWMAN}\N{CJK UNIFIED IDEOGRAPH-65E5}", "x" * 200, "a\tb\nc"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_figure(np.eye(5, dtype=np.int64), names, [5])
        to_image(figure)
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn[0] == "$100 $bill"
    assert drawn[4] == "a b c"
    assert max(map(len, drawn)) <= 18


def test_pyplot_is_not_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from cl_suite.logging.figures import accuracy_matrix_figure, to_image\n"
        "to_image(accuracy_matrix_figure(np.eye(2))); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("num_sessions", "shown"), [(13, 13), (290, 290), (1000, 334)])
def test_each_session_of_the_accuracy_matrix_has_whole_pixels_up_to_a_cap(
    num_sessions: int, shown: int
) -> None:
    figure = accuracy_matrix_figure(lower_triangle(num_sessions))
    axes = figure.axes[0]
    assert axes.images[0].get_array().shape == (shown, shown)
    width = axes.get_window_extent().width
    assert width / shown == pytest.approx(round(width / shown))
    assert to_image(figure).shape[0] < 1300


def test_a_thinned_accuracy_matrix_keeps_the_last_session_and_true_numbers() -> None:
    matrix = lower_triangle(1000)
    matrix[999, 0] = 0.25
    axes = accuracy_matrix_figure(matrix).axes[0]
    assert axes.images[0].get_array()[-1, 0] == 25
    assert axes.get_yticklabels()[1].get_text() == str(14 * 3)
    assert "every 3 sessions" in axes.get_title()


def test_boundaries_of_very_many_sessions_are_not_drawn() -> None:
    figure = confusion_figure(np.eye(300, dtype=np.int64), [""] * 300, 300 * [1])
    assert not figure.axes[0].lines


def test_a_hundred_classes_have_their_names_and_a_shared_row_has_none() -> None:
    named = confusion_figure(np.eye(100, dtype=np.int64), [f"c{i}" for i in range(100)], [100])
    assert [label.get_text() for label in named.axes[0].get_yticklabels()][-1] == "c99"
    # two classes a row
    shared = confusion_figure(np.eye(60, dtype=np.int64), [f"c{i}" for i in range(120)], [60])
    assert [label.get_text() for label in shared.axes[0].get_yticklabels()] == ["0"]
    assert shared.axes[0].get_title().endswith("120 classes, 2 a row")


def test_the_colour_bars_label_is_inside_the_picture() -> None:
    figure = confusion_figure(np.eye(100, dtype=np.int64), [f"c{i}" for i in range(100)], [100])
    figure.draw_without_rendering()
    assert figure.axes[1].get_tightbbox().x1 < figure.bbox.x1
