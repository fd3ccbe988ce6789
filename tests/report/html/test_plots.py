"""The charts of a report as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from cl_suite.metrics.intervals import MeanInterval
from cl_suite.report.html import plots, points
from cl_suite.report.html.curves import Curve, mean_curve
from cl_suite.report.html.points import Point, pareto_front

RUNS = [np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.7, 0.65])]
POINTS = [Point(0, "a", 1.0, 50.0, [(0.9, 49.0), (1.1, 51.0)]), Point(12, "$b$ <i>", 40.0, 70.0)]
NOISE = np.random.default_rng(0).random((1000, 1000))
MATRIX = np.where(np.tri(3) > 0, 0.5, np.nan)


def every_chart() -> dict[str, str]:
    curves = {0: mean_curve(RUNS), 11: mean_curve(RUNS[:1])}
    interval = MeanInterval(-0.05, 0.02, 0.01, 3)
    return {
        "sessions": plots.session_chart("x", "label", curves, {0: curves[11]}),
        "base": points.base_against_new("x", POINTS),
        "forest": points.forest("x", {0: ("a", interval), 3: ("$b$ <i>", interval)}),
        "cost": points.accuracy_against_cost("x", "train s", POINTS),
        "calibration": plots.calibration_curves("x", "label", {0: [(0.2, 0.1), (0.9, 0.7)]}),
        "matrix": plots.heat_map("x", "label", MATRIX),
        "large": plots.heat_map("x", "label", np.full((60, 60), 0.3)),
        "huge": plots.heat_map("x", "label", NOISE),
    }


@pytest.fixture(scope="module")
def charts() -> dict[str, str]:
    return every_chart()


def test_charts_are_whole_svg_that_takes_its_colours_from_the_page(
    charts: dict[str, str],
) -> None:
    for name, svg in charts.items():
        root = ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="x" ', 1))
        assert root.get("viewBox"), name
        assert root.get("role") == "img"
        assert "#00f" not in svg, name  # a stand-in that was left
        assert "font-family" not in svg, name
        assert not re.search(r"<style|<script|<!--|<metadata|https?:", svg), name


def test_the_same_figures_give_the_same_bytes(charts: dict[str, str]) -> None:
    assert every_chart() == charts


def test_ids_are_named_after_the_chart_and_are_used(charts: dict[str, str]) -> None:
    for name, svg in charts.items():
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        for id in ids:
            assert id.startswith("x-")
            assert f"#{id}" in svg, name
        assert set(re.findall(r'#(x-[^")]+)', svg)) <= set(ids), name


def test_each_method_has_its_class_and_its_colour(charts: dict[str, str]) -> None:
    assert 'class="series m0"' in charts["sessions"]
    assert 'class="series band m0"' in charts["sessions"]
    assert 'class="series band m11"' not in charts["sessions"]  # a single run
    assert "var(--m1)" in charts["sessions"]  # of method 11
    assert "var(--m11)" not in charts["sessions"]


def test_names_are_text(charts: dict[str, str]) -> None:
    for name in ("base", "cost", "forest"):
        assert "$b$ &lt;i&gt;" in charts[name]


@pytest.mark.parametrize("name", ["#00fa09", r"a\1\g", "x0.12345", 'id="svg-1"', "url(#a)", "-->"])
def test_a_name_stays_as_it_is_whatever_it_looks_like(name: str) -> None:
    svg = points.accuracy_against_cost("x", "s", [Point(0, name, 1, 2), Point(1, "b", 2, 3)])
    root = ElementTree.fromstring(svg)
    assert name in [element.text for element in root.iter("text")]
    labelled = ElementTree.fromstring(plots.heat_map("x", name, MATRIX))
    assert labelled.get("aria-label") == name


def test_values_are_written_into_cells_if_there_is_room(charts: dict[str, str]) -> None:
    assert charts["matrix"].count(">50</text>") == 6
    assert ">30</text>" not in re.sub(r"<g><text[^>]*var\(--muted\).*?</text>", "", charts["large"])


def test_a_matrix_of_very_many_sessions_is_thinned(charts: dict[str, str]) -> None:
    assert len(charts["huge"]) < 500_000
    assert ">900</text>" in charts["huge"]


def test_a_curve_without_values_at_first_is_drawn() -> None:
    values: NDArray[np.float64] = np.array([np.nan, 0.5, 0.4])
    curve = Curve(values, np.full(3, np.nan))
    assert "series m0" in plots.session_chart("x", "label", {0: curve})


def test_costs_of_very_different_size_are_drawn_in_powers() -> None:
    assert ">10</text>" in points.accuracy_against_cost("x", "s", POINTS)
    assert "mathdefault" not in points.accuracy_against_cost("x", "s", POINTS)


def test_the_front_is_what_no_other_beats_in_both() -> None:
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (1, 0.4), (4, 0.9)]) == [1, 0]
    assert pareto_front([(0, 0.1), (0, 0.3)]) == [1]
