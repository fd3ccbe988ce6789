"""What a session costs does not depend on how many there are, by counted bytes and calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.many_sessions import run_many
from helpers.records import session_record
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_suite.errors import UserError
from cl_suite.logging import run_dashboard
from cl_suite.logging.run_dashboard import RunDashboard
from cl_suite.runs import confusion_file
from cl_suite.runs.confusion_file import MOST_PICTURES, is_pictured
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.journal import MOST_WAITING, Journal
from cl_suite.runs.listener import Listener
from cl_suite.runs.measure_log import ALWAYS_WRITTEN
from cl_suite.storage import checkpoint, files

FEW, MANY, PICTURES = 40, 200, 6


class Bytes(Listener):
    """Notes the bytes written so far, and those of the checkpoint, when a session begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.total: dict[str, int] = {}
        self.at: list[dict[str, int]] = []
        replace = files.os.replace

        def counted(source: Path, target: Path) -> None:
            self._add(Path(target).name, Path(source).stat().st_size)
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", counted)

    def _add(self, name: str, size: int) -> None:
        self.total[name] = self.total.get(name, 0) + size

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        self.at.append(dict(self.total))

    def between(self, name: str, first: int, last: int) -> float:
        """Return the bytes of files of this name that a session wrote, on average."""
        start, end = (self.at[session].get(name, 0) for session in (first, last))
        return (end - start) / (last - first)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Bytes]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        noted = Bytes(monkeypatch)
        monkeypatch.setattr(run_dashboard, "SECONDS_BETWEEN_PICTURES", 0.0)
        monkeypatch.setattr(confusion_file, "MOST_PICTURES", PICTURES)  # drawing takes long
        found = run_many(tmp_path_factory.mktemp("many"), MANY, listeners=[RunDashboard(), noted])
    return found, noted


def test_a_checkpoint_grows_by_the_rows_of_the_head_alone(many: tuple[RunFolder, Bytes]) -> None:
    _, noted = many
    # a row of five floats, its momentum and the class's number, in two or three checkpoints
    a_row = 3 * (2 * 5 * 4 + 8 + 8)
    early, late = (noted.between("last.safetensors", end - FEW, end) for end in (2 * FEW, MANY - 1))
    assert late - early <= a_row * (MANY - 2 * FEW) + 3 * MOST_WAITING
    assert late < 1.1 * early + a_row * MANY


def test_the_figures_are_written_a_few_times_not_once_a_session(
    many: tuple[RunFolder, Bytes],
) -> None:
    folder, noted = many
    # the file itself has a line a session, added to it
    assert noted.total["metrics.jsonl"] < 1000
    assert len(folder.read_metrics()) == MANY
    whole = folder.hits_file.stat().st_size + folder.matrix_file.stat().st_size
    written = noted.total["hits.npz"] + noted.total["accuracy_matrix.npy"]
    assert written < 12 * whole


def test_few_confusion_matrices_are_kept(many: tuple[RunFolder, Bytes]) -> None:
    folder, _ = many
    found = list(folder.path.glob("checkpoint/confusion_*"))
    assert 1 < len(found) <= PICTURES
    assert folder.confusion_file(MANY - 1) in found


def test_the_dashboard_has_every_point_and_few_pictures(many: tuple[RunFolder, Bytes]) -> None:
    folder, _ = many
    events = EventAccumulator(str(folder.path), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert len(events.Scalars("accuracy/all")) == MANY
    pictures = [event.step for event in events.Images("matrix/confusion")]
    assert len(pictures) <= PICTURES
    assert pictures[-1] == MANY - 1
    (file,) = folder.path.glob("events.out.tfevents.*")
    images = sum(
        len(event.encoded_image_string)
        for tag in ("matrix/accuracy", "matrix/confusion")
        for event in events.Images(tag)
    )
    assert (file.stat().st_size - images) / MANY < 1000


def test_the_figures_are_those_of_all_hits_together(many: tuple[RunFolder, Bytes]) -> None:
    folder, _ = many
    hits, records = folder.read_hits(), folder.read_metrics()
    assert hits.num_sessions == MANY
    for session in (0, 1, 2, 57, MANY - 1):
        record = records[session]
        times = {
            "seconds_train": record.seconds_train,
            "seconds_eval": record.seconds_eval,
            "seen_classes": record.seen_classes,
        }
        mistaken = {"new_as_base": record.new_as_base, "base_as_new": record.base_as_new}
        assert record == replace(session_record(hits, session, **times), **mistaken)


@pytest.mark.parametrize("num_sessions", [1, 2, 31, 32, 33, 100, 1000])
def test_pictures_are_spread_evenly_and_end_with_the_last(num_sessions: int) -> None:
    drawn = [s for s in range(num_sessions) if is_pictured(s, num_sessions)]
    assert min(num_sessions, MOST_PICTURES // 2) <= len(drawn) <= MOST_PICTURES
    assert drawn[-1] == num_sessions - 1
    assert len(set(np.diff(drawn).tolist())) <= 1


class Stop(Listener):
    def __init__(self, at: int) -> None:
        self.at = at

    def session_ends(self, session: int) -> None:
        if session == self.at:
            raise KeyboardInterrupt


def test_a_run_with_a_journal_goes_on_to_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_suite.runs.journal.MOST_WAITING", 1000)
    whole = run_many(tmp_path / "whole", FEW)
    for at in (ALWAYS_WRITTEN + 2, ALWAYS_WRITTEN + 5):
        with pytest.raises(KeyboardInterrupt):
            run_many(tmp_path / "stopped", FEW, listeners=[Stop(at)], resume=at > 34)
    stopped = RunFolder(tmp_path / "stopped/omniglot/finetune/seed0")
    with stopped.metrics_file.open("a") as file:
        file.write('{"session": 3')  # of a killed process
    with stopped.journal_file.open("a") as file:
        file.write('{"epoch": {}}\n{"hal')  # behind what the checkpoint knows
    assert len(stopped.read_metrics()) == ALWAYS_WRITTEN + 6
    run_many(tmp_path / "stopped", FEW, resume=True)
    for name in ("hits.npz", "accuracy_matrix.npy", "model/model.safetensors"):
        assert (whole.path / name).read_bytes() == (stopped.path / name).read_bytes()
    assert len(stopped.read_metrics()) == FEW


def test_a_changed_journal_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_suite.runs.journal.MOST_WAITING", 1000)
    with pytest.raises(KeyboardInterrupt):
        run_many(tmp_path, FEW, listeners=[Stop(20)])
    folder = RunFolder(tmp_path / "omniglot/finetune/seed0")
    content = bytearray(folder.journal_file.read_bytes())
    content[30] ^= 1
    folder.journal_file.write_bytes(content)
    with pytest.raises(UserError, match=r"journal\.jsonl' is damaged"):
        run_many(tmp_path, FEW, resume=True)


def test_a_short_run_has_no_journal(tmp_path: Path) -> None:
    assert not run_many(tmp_path, 3).journal_file.exists()


def test_a_journal_holds_what_was_added_and_forgets_what_came_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    entries = [{"text": "x" * 1000, "number": i} for i in range(50)]
    for entry in entries[:40]:
        journal.add(entry)
    state = journal.state_dict()
    assert state["bytes"] > MOST_WAITING
    assert state["waiting"] == []
    for entry in entries[40:]:
        journal.add(entry)
    assert len(journal.state_dict()["waiting"]) == 10
    for _ in range(40):
        journal.add(entries[0])
    journal.state_dict()  # written, and then killed before the checkpoint
    again = Journal(tmp_path / "j")
    assert again.load_state_dict(state) == entries[:40]
    for entry in entries:
        again.add(entry)
    assert Journal(tmp_path / "j").load_state_dict(again.state_dict()) == entries[:40] + entries


def test_a_checkpoint_of_version_0_2_is_resumed(tmp_path: Path) -> None:
    whole = run_many(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        run_many(tmp_path / "old", 6, listeners=[Stop(3)])
    folder = RunFolder(tmp_path / "old/omniglot/finetune/seed0")
    tree = checkpoint.load(folder.checkpoint_file)
    entries = Journal(folder.journal_file).load_state_dict(tree.pop("journal"))
    measured = [entry for entry in entries if "row" in entry]
    rows = np.zeros((len(measured), 6), dtype=np.int64)
    for place, entry in enumerate(measured):
        rows[place, : len(entry["row"])] = entry["row"]
    tree["epochs"] = [entry["epoch"] for entry in entries if "epoch" in entry]
    tree["measured"] = {"hits": rows, "records": [entry["record"] for entry in measured]}
    tree["probes"] = {}
    checkpoint.save(folder.checkpoint_file, tree)
    run_many(tmp_path / "old", 6, resume=True)
    assert (folder.hits_file).read_bytes() == whole.hits_file.read_bytes()
    assert len(folder.read_metrics()) == 6
