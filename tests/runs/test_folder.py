"""A run's folder: what is written and read back, and the messages about damage."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.records import session_record
from helpers.tiny_runs import METRIC_KEYS

from cl_suite.errors import UserError
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.runs.folder import RunFolder, SessionRecord, find_runs
from cl_suite.storage.files import atomic_write


def three_sessions() -> Hits:
    return Hits(
        np.array([[540, 0, 0], [510, 30, 0], [480, 25, 35]]),
        np.array([600, 50, 50]),
        np.arange(3),
    )


def record_of(hits: Hits, session: int) -> SessionRecord:
    return session_record(
        hits, session, seconds_train=2.5, seconds_eval=0.5, seen_classes=session + 1
    )


def start_run(path: Path) -> RunFolder:
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.config_file.write_text("seed: 0\n")
    folder.run_info_file.write_text("{}")
    return folder


def test_a_record_holds_the_figures_as_they_stood_after_the_session() -> None:
    record = record_of(three_sessions(), 1)
    assert record.accuracy == pytest.approx(540 / 650)
    assert record.base == pytest.approx(0.85)
    assert record.new == pytest.approx(0.6)
    assert record.harmonic == pytest.approx(0.7034483, abs=1e-7)
    assert record.forgetting == pytest.approx(0.05)


def test_a_record_of_the_base_session_leaves_undefined_figures_out() -> None:
    record = record_of(three_sessions(), 0)
    assert (record.accuracy, record.base) == (0.9, 0.9)
    assert (record.new, record.harmonic, record.forgetting) == (None, None, None)


def test_metrics_are_one_json_object_a_session(tmp_path: Path) -> None:
    hits = three_sessions()
    RunFolder(tmp_path).write_metrics([record_of(hits, session) for session in range(3)])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [METRIC_KEYS] * 3
    assert json.loads(lines[0])["new"] is None


def test_metrics_come_back_as_written(tmp_path: Path) -> None:
    records = [record_of(three_sessions(), session) for session in range(3)]
    RunFolder(tmp_path).write_metrics(records)
    assert RunFolder(tmp_path).read_metrics() == records


def test_hits_come_back_as_written_with_the_matrix_beside_them(tmp_path: Path) -> None:
    hits = three_sessions()
    RunFolder(tmp_path).write_hits(hits)
    read = RunFolder(tmp_path).read_hits()
    for name in ("hits", "counts", "session_of_class"):
        np.testing.assert_array_equal(getattr(read, name), getattr(hits, name))
        assert getattr(read, name).dtype == np.int64
    matrix = np.load(tmp_path / "accuracy_matrix.npy", allow_pickle=False)
    np.testing.assert_array_equal(matrix, accuracy_matrix(hits)[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", b'{"session": 0', r"line 1: "),
        ("metrics.jsonl", b"[]", r"line 1: "),
        ("metrics.jsonl", b'{"session": 0}', r"line 1: .*missing"),
        ("metrics.jsonl", b"\xff\xfe", "cannot be read"),
        ("hits.npz", b"", "cannot be read"),
        ("hits.npz", b"PK\x03\x04 cut short", "cannot be read"),
        ("config.yaml", b"seed: [0", "cannot be read"),
        ("config.yaml", b"- 0", "it is not a mapping"),
        ("run.json", b"{", "cannot be read"),
        ("run.json", b"3", "it is not a mapping"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(RunFolder(tmp_path), name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["metrics.jsonl", "hits.npz", "config.yaml", "run.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}' does not exist"):
        read(RunFolder(tmp_path), name)


def read(folder: RunFolder, name: str) -> object:
    return {
        "metrics.jsonl": folder.read_metrics,
        "hits.npz": folder.read_hits,
        "config.yaml": folder.read_config,
        "run.json": folder.read_run_info,
    }[name]()


def test_a_figure_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_metrics([record_of(three_sessions(), 0)])
    content = json.loads(folder.metrics_file.read_text()) | {"accuracy": "high"}
    folder.metrics_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="accuracy must be a number, got 'high'"):
        folder.read_metrics()


def test_hits_that_are_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "hits.npz", hits=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        RunFolder(tmp_path).read_hits()


# writing


def test_atomic_write_replaces_the_content_and_leaves_nothing_else(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", b"old")
    atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    atomic_write(tmp_path / "file", b"old")

    def full(*ignored: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(UserError, match=r"the disk is full while writing '.*file'; free some"):
        atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_interrupted_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomic_write(tmp_path / "file", b"old")

    def interrupt(*ignored: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent/file' cannot be written \(No such file"):
        atomic_write(tmp_path / "absent" / "file", b"")


# finding


def test_runs_are_found_below_a_folder_with_seeds_in_numeric_order(tmp_path: Path) -> None:
    for seed in (10, 2):
        start_run(tmp_path / "omniglot" / "teen" / f"seed{seed}")
    found = find_runs([tmp_path])
    assert [run.path.name for run in found] == ["seed2", "seed10"]


def test_a_run_named_twice_is_found_once(tmp_path: Path) -> None:
    run = start_run(tmp_path / "seed0")
    assert find_runs([run.path, tmp_path]) == [run]


def test_a_stray_settings_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match="there is no run in"):
        find_runs([tmp_path])


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent' is not a folder"):
        find_runs([tmp_path / "absent"])


def test_neither_torch_nor_avalanche_is_imported() -> None:
    code = "import sys, cl_suite.runs.folder; print({'torch', 'avalanche'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
