"""Figures after each session, and their means over runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.reports import streams, write_confidence, write_pair
from helpers.shown_runs import write_run

from cl_suite.report.html.curves import (
    after_sessions,
    calibration_points,
    confidence_curves,
    curves_of,
    mean_curve,
    mean_matrix,
)
from cl_suite.runs.folder import RunFolder


def test_the_figures_are_those_that_the_run_has_recorded(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path, num_sessions=5))
    found = after_sessions(folder.read_hits())
    for record in folder.read_metrics():
        for name, values in found.items():
            recorded = getattr(record, name)
            wanted = np.nan if recorded is None else recorded
            assert values[record.session] == pytest.approx(wanted, nan_ok=True), name


def test_a_curve_is_the_mean_over_the_runs_with_its_interval() -> None:
    found = mean_curve([np.array([0.70, 0.5]), np.array([0.72, 0.5]), np.array([0.74, 0.5])])
    assert found.mean == pytest.approx([0.72, 0.5])
    assert found.half_width == pytest.approx([0.0497, 0.0], abs=1e-4)


def test_a_single_run_has_no_band() -> None:
    found = mean_curve([np.array([0.7, 0.5])])
    assert found.mean == pytest.approx([0.7, 0.5])
    assert np.isnan(found.half_width).all()


def test_a_session_is_the_mean_of_the_runs_that_have_reached_it() -> None:
    found = mean_curve([np.array([0.7]), np.array([0.5, 0.3]), np.array([0.6, 0.5])])
    assert found.mean == pytest.approx([0.6, 0.4])


def test_a_mean_is_undefined_if_a_run_does_not_define_it() -> None:
    found = mean_curve([np.array([np.nan, 0.3]), np.array([0.5, 0.3])])
    assert found.mean == pytest.approx([np.nan, 0.3], nan_ok=True)


def test_a_matrix_is_the_mean_over_the_runs(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (stream,) = streams(tmp_path)
    matrix = mean_matrix(stream.methods[1])
    assert matrix[:, 0] == pytest.approx([0.8, 0.79, 0.78])
    assert np.isnan(matrix[0, 1])


def test_confidence_is_known_only_if_every_run_has_measured_it(tmp_path: Path) -> None:
    for seed in range(2):
        run = write_run(tmp_path, seed=seed)
        if seed == 0:
            write_confidence(run, [0.1, None, 0.3])
    (stream,) = streams(tmp_path)
    assert confidence_curves(stream.methods[0], ("ece",)) == {}
    write_confidence(run, [0.3, 0.4, 0.5])
    (stream,) = streams(tmp_path)
    found = confidence_curves(stream.methods[0], ("ece",))
    assert found["ece"].mean == pytest.approx([0.2, np.nan, 0.4], nan_ok=True)


def test_a_calibration_curve_is_over_the_samples_of_all_runs(tmp_path: Path) -> None:
    bins = [[[0, None, None], [100, 0.6, 0.2]], [[2, 0.1, 0.5], [300, 0.8, 0.6]]]
    for seed, own in enumerate(bins):
        run = RunFolder(write_run(tmp_path, seed=seed))
        run.write_confidence([{"session": 0, "ece": 0.1, "bins": own}])
    (stream,) = streams(tmp_path)
    # two of 402 samples are too few to be shown
    assert calibration_points(stream.methods[0], "bins") == [pytest.approx((0.75, 0.5))]
    assert calibration_points(stream.methods[0], "scaled_bins") == []


def test_every_figure_has_a_curve(tmp_path: Path) -> None:
    write_run(tmp_path)
    (stream,) = streams(tmp_path)
    curves = curves_of(stream.methods[0])
    assert set(curves) >= {"accuracy", "base", "new", "harmonic", "forgetting", "gacc"}
    assert all(len(curve.mean) == 3 for curve in curves.values())
