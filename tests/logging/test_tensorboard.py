"""The contents of the dashboard's event file."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from helpers.dashboards import write_dashboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import (
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)

from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.logging.tensorboard import Dashboard


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dashboard") / "seed0"
    write_dashboard(path, seed=0, temperature=float("inf"), normalise=True, head="cosine")
    return path


@pytest.fixture(scope="module")
def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def series(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_session_figures_have_the_session_as_their_axis(events: EventAccumulator) -> None:
    # 20 of 20, then 25 of 30: the first class gains what the others lose
    steps, values = zip(*series(events, "accuracy/all"), strict=True)
    assert steps == (0, 1, 2)
    assert values == pytest.approx([18 / 20, 24 / 30, 28 / 40])


def test_undefined_figures_are_left_out(events: EventAccumulator) -> None:
    for tag in ("accuracy/new", "accuracy/harmonic", "forgetting"):
        assert [step for step, _ in series(events, tag)] == [1, 2]
    assert [step for step, _ in series(events, "training/loss")] == [0, 1]
    assert "outcome/forgetting" not in events.Tags()["scalars"]


def test_training_figures_have_the_epoch_as_their_axis(events: EventAccumulator) -> None:
    assert series(events, "training/images_per_second") == [(0, 1000), (1, 1000), (2, 1000)]
    assert series(events, "training/session") == [(0, 0), (1, 1), (2, 2)]


def test_each_session_has_its_two_pictures(events: EventAccumulator) -> None:
    for tag in ("matrix/accuracy", "matrix/confusion"):
        assert [event.step for event in events.Images(tag)] == [0, 1, 2]


def test_hyperparameters_lie_in_the_runs_own_file(folder: Path, events: EventAccumulator) -> None:
    assert SESSION_START_INFO_TAG in events.summary_metadata
    assert SESSION_END_INFO_TAG in events.summary_metadata
    assert len(list(folder.rglob("events.out.tfevents.*"))) == 1
    assert series(events, "outcome/average accuracy") == [(0, 0.75)]


def test_the_first_final_figures_stand_before_the_settings(events: EventAccumulator) -> None:
    content = events.summary_metadata[SESSION_START_INFO_TAG].plugin_data.content
    values = parse_session_start_info_plugin_data(content).hparams
    # TensorBoard sorts by name; a figure that is not there has no column
    assert sorted(values) == ["Average accuracy", "head", "normalise", "seed", "temperature"]
    assert values["Average accuracy"].number_value == 0.75


def test_no_chart_has_several_measures(events: EventAccumulator) -> None:
    assert "custom_scalars__config__" not in events.Tags()["tensors"]


def test_a_text_says_what_the_run_is_and_another_what_its_sessions_brought(
    events: EventAccumulator,
) -> None:
    (about,) = events.Tensors("run/about/text_summary")
    assert b"cl-suite run demo demo" in about.tensor_proto.string_val[0]
    (sessions,) = events.Tensors("run/sessions/text_summary")
    assert b"| 2 | 4 | 70.00 |" in sessions.tensor_proto.string_val[0]


def test_prototypes_are_laid_out_for_the_projector(folder: Path) -> None:
    rows = (folder / "projector" / "prototypes.tsv").read_text().splitlines()
    np.testing.assert_array_equal(
        [[float(x) for x in row.split("\t")] for row in rows], np.eye(4, 5)
    )
    names = (folder / "projector" / "classes.tsv").read_text().splitlines()
    assert names[:3] == ["class\tsession", "ant\t0", "bee with a tab\t2"]


def test_the_folder_holds_nothing_else(folder: Path) -> None:
    names = {path.name.split(".out")[0] for path in folder.iterdir()}
    assert names == {"events", "projector", "projector_config.pbtxt"}


def test_prototypes_without_their_labels_are_refused(tmp_path: Path) -> None:
    dashboard = Dashboard(tmp_path)
    with pytest.raises(ValueError, match="2 prototypes, 1 labels and 2 sessions"):
        dashboard.prototypes(np.eye(2), ["ant"], [0, 0])
    dashboard.close()


def test_no_prototypes_leave_no_trace(tmp_path: Path) -> None:
    dashboard = Dashboard(tmp_path)
    dashboard.prototypes(np.zeros((0, 8)), [], [])
    dashboard.close()
    assert not (tmp_path / "projector_config.pbtxt").exists()


def test_a_fresh_dashboard_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("kept: true\n")
    for _ in range(2):
        write_dashboard(tmp_path)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    Dashboard.fresh(tmp_path).close()
    assert not (tmp_path / "projector").exists()
    assert not (tmp_path / "projector_config.pbtxt").exists()
    assert (tmp_path / "config.yaml").read_text() == "kept: true\n"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_dashboard(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dashboard = Dashboard(tmp_path)

    def full(*ignored: object, **ignored_too: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dashboard.events, "add", full)
    with pytest.raises(UserError, match="the disk is full while writing"):
        dashboard.epoch(0, EpochRecord(0, 0, 1.0, 0.1, num_samples=1, seconds=1.0))
