"""The mean of a pair's seeds, as a run of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_runs import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from cl_suite.logging.curve_figure import curve_figure
from cl_suite.logging.figures import to_image
from cl_suite.logging.run_dashboard import RunDashboard
from cl_suite.runs.folder import find_runs


def seeds(out: Path, *numbers: int, **changed: object) -> Path:
    """Run some seeds with the dashboard; return the folder of their mean."""
    for seed in numbers:
        run(out, seed=seed, listeners=[RunDashboard()], **changed)
    return out / "omniglot" / "prototype" / "seeds"


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def values(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value, abs=1e-6)) for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeds(tmp_path_factory.mktemp("runs"), 0, 1)


def test_mean_lowest_and_highest_are_those_of_the_seeds(two: Path) -> None:
    records = [
        [json.loads(line) for line in (two.parent / f"seed{seed}" / "metrics.jsonl").open()]
        for seed in (0, 1)
    ]
    events = events_of(two)
    for tag, name in (("all", "accuracy"), ("gacc", "gacc"), ("forgetting", "forgetting")):
        both = [(s, a[name], b[name]) for s, (a, b) in enumerate(zip(*records, strict=True))]
        both = [each for each in both if None not in each]
        assert values(events, f"seeds/{tag}") == [(s, (a + b) / 2) for s, a, b in both]
        assert values(events, f"seeds/{tag}_lowest") == [(s, min(a, b)) for s, a, b in both]
        assert values(events, f"seeds/{tag}_highest") == [(s, max(a, b)) for s, a, b in both]


def test_it_adds_no_line_to_the_charts_of_the_runs(two: Path) -> None:
    own = set(events_of(two.parent / "seed0").Tags()["scalars"])
    assert not own & set(events_of(two).Tags()["scalars"])


def test_each_measure_has_a_chart_with_a_band(two: Path) -> None:
    (event,) = events_of(two).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    (category,) = layout.category
    assert {chart.title for chart in category.chart} == {
        *("all", "base", "new", "harmonic", "gacc", "forgetting")
    }
    for chart in category.chart:
        (series,) = chart.margin.series
        assert (series.value, series.upper) == (f"seeds/{chart.title}", f"{series.value}_highest")


def test_a_picture_holds_session_0(two: Path) -> None:
    assert [event.step for event in events_of(two).Images("seeds/curves")] == [0]


def test_it_is_no_run_for_the_suite(two: Path) -> None:
    assert [found.path.name for found in find_runs([two.parent])] == ["seed0", "seed1"]


def test_one_seed_has_no_mean(tmp_path: Path) -> None:
    assert not seeds(tmp_path, 0).exists()


def test_a_third_seed_replaces_the_mean_of_two(tmp_path: Path) -> None:
    place = seeds(tmp_path, 0, 1)
    (first,) = place.iterdir()
    seeds(tmp_path, 2)
    (second,) = place.iterdir()
    assert first != second


def test_runs_with_other_settings_are_not_mixed(tmp_path: Path) -> None:
    place = seeds(tmp_path, 0, 1)
    seeds(tmp_path, 1, overwrite=True, **{"training.lr": 0.5})
    assert not place.exists()  # of a mean of earlier settings nothing is left
    seeds(tmp_path, 0, overwrite=True, **{"training.lr": 0.5, "training.num_workers": 1})
    assert place.exists()


def test_a_damaged_run_beside_is_left_alone(tmp_path: Path) -> None:
    place = seeds(tmp_path, 0, 1)
    (place.parent / "seed1" / "run.json").write_text("{")
    seeds(tmp_path, 2)
    assert place.exists()


def test_the_picture_has_a_panel_a_measure_and_a_line_a_seed() -> None:
    curves = {
        "all": np.array([[0.9, 0.8, 0.7], [0.7, 0.6, 0.5]]),
        "new": np.array([[np.nan, 0.2, 0.4], [np.nan, 0.4, 0.2]]),
        "forgetting": np.zeros((2, 3)),
    }
    figure = curve_figure(curves, [0, 1], "omniglot / teen")
    panels = figure.axes
    assert [axes.get_title() for axes in panels if axes.axison] == list(curves)
    assert [len(axes.lines) for axes in panels] == [3, 3, 3, 0]
    mean = panels[0].lines[-1].get_ydata()
    np.testing.assert_allclose(np.asarray(mean, dtype=float), [80, 70, 60])
    low, high = panels[0].get_ylim()
    assert low < 50
    assert high > 90  # session 0 is inside
    assert to_image(figure).ndim == 3
