"""What a benchmark's figures amount to over draws."""

from __future__ import annotations

import math

import pytest

from cl_suite.metrics.headline import Headline
from cl_suite.report.benchmark_figures import Key, Result, RowFigures, difference, ranks, spread
from cl_suite.report.benchmark_tables import main_group

NAN = math.nan


def figures(average: float, harmonic: float = 0.5, gacc: float = 0.5) -> Headline:
    return Headline(average, 0.5, 0.1, harmonic, 0.1, 0.5, gacc, 0.9, -0.1)


def row(name: str, *averages: float, group: str = "drawn", **others: float) -> RowFigures:
    keys: list[Key] = [(group, f"seed {number}", None) for number in range(len(averages))]
    found = {key: figures(value, **others) for key, value in zip(keys, averages, strict=True)}
    return RowFigures(name, found)


def test_a_spread_has_mean_median_and_worst() -> None:
    found = spread([0.9, 0.5, 0.6])
    assert found.mean.mean == pytest.approx(2 / 3)
    assert (found.median, found.worst, found.mean.num) == (0.6, 0.5, 3)


def test_an_undefined_figure_is_left_out_of_a_spread() -> None:
    assert spread([0.4, NAN]).mean.num == 1
    assert math.isnan(spread([NAN]).worst)


def test_differences_are_paired_by_draw() -> None:
    # the draws differ far more than the rows do
    first, second = row("a", 0.30, 0.60, 0.90), row("b", 0.29, 0.59, 0.89)
    found = difference(first, second, "average", "drawn")
    assert found is not None
    assert found.mean == pytest.approx(0.01)
    assert found.half_width < 1e-9


def test_only_common_draws_are_paired() -> None:
    found = difference(row("a", 0.5, 0.7), row("b", 0.4), "average", "drawn")
    assert found is not None
    assert (found.num, round(found.mean, 3)) == (1, 0.1)
    assert difference(row("a", 0.5), row("b", 0.4, group="apart"), "average", "drawn") is None


def test_places_depend_on_the_figure() -> None:
    rows = [row("a", 0.6, gacc=0.1), row("b", 0.5, gacc=0.4), row("c", 0.6, gacc=NAN)]
    result = Result("classifier", "a", rows)
    assert ranks(result, "average", "drawn") == {"a": 1, "b": 3, "c": 1}
    assert ranks(result, "gacc", "drawn") == {"b": 1, "a": 2}


def test_the_largest_group_of_draws_is_the_main_one() -> None:
    few, many = row("a", 0.5, group="published"), row("a", 0.5, 0.6)
    both = RowFigures("a", {**few.figures, **many.figures})
    assert main_group(Result("classifier", "a", [both])) == "drawn"
    assert main_group(Result("classifier", "a", [RowFigures("a", {})])) is None
