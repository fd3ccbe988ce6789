"""Many readers, one writer: each reader sees one state, and no change is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.learners import photo_folder, photo_learner, pictures, tiny_learner
from helpers.served import png, write_classifier

from cl_suite.errors import UserError
from cl_suite.learner import store
from cl_suite.learner.learner import Learner
from cl_suite.learner.serve.held_out import HeldOut
from cl_suite.learner.serve.limits import Limits, RefusedError
from cl_suite.learner.serve.service import Service
from cl_suite.learner.serve.uploads import Upload


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(write_classifier(tmp_path / "a.clm"), Limits(seconds=20))


def uploads(number: int, *, of: int, seed: int = 0) -> list[Upload]:
    return [Upload(f"{i}.png", png(of, 100 * seed + i)) for i in range(number)]


def test_readers_see_the_old_or_the_new_state_while_one_learns(service: Service) -> None:
    query = uploads(1, of=2, seed=7)
    seen: set[tuple[str, ...]] = set()
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            (answer,) = service.predict(query, top=100, neighbours=3)
            labels = answer.prediction.labels
            assert sum(answer.prediction.probabilities) == pytest.approx(1, abs=1e-4)
            assert {near.label for near in answer.neighbours} <= set(labels)
            seen.add(tuple(sorted(labels)))

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(10):
            service.learn(uploads(2, of=2), "two")
            service.forget("two")
        is_over.set()
        for reader in readers:
            reader.result()
    old = ("класс 0", "класс 1")
    assert seen <= {old, ("two", *old)}


def test_writers_wait_for_each_other_and_none_is_lost(service: Service) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(service.learn, uploads(2, of=n, seed=n), f"{n}") for n in range(2, 10)]
        assert {each.result().total for each in done} == {2}
    found = Learner.load(service.path)
    assert found.counts == {"класс 0": 5, "класс 1": 5, **{f"{n}": 2 for n in range(2, 10)}}


def test_a_change_that_cannot_be_written_is_seen_by_nobody(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise UserError("the disk is full while writing 'a.clm'; free some space")

    before = service.path.read_bytes()
    monkeypatch.setattr(store, "write", full)
    with pytest.raises(RefusedError, match="disk is full") as refusal:
        service.learn(uploads(2, of=2), "two")
    assert refusal.value.status == 503
    assert service.current().labels == ("класс 0", "класс 1")
    assert service.path.read_bytes() == before


def test_readers_do_not_see_a_change_before_the_file_has_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, labels = store.write, []

    def write(path: Path, content: dict[str, object]) -> None:
        original(path, content)
        labels.append(service.current().labels)

    monkeypatch.setattr(store, "write", write)
    service.learn(uploads(2, of=2), "two")
    assert labels == [("класс 0", "класс 1")]
    assert service.current().labels == ("класс 0", "класс 1", "two")


def test_who_waits_too_long_for_another_process_is_told(tmp_path: Path) -> None:
    service = Service(write_classifier(tmp_path / "a.clm"), Limits(seconds=0.2))
    with store.locked(service.path), pytest.raises(RefusedError, match="being changed") as refusal:
        service.forget("класс 0")
    assert refusal.value.status == 503
    service.forget("класс 0")


def test_who_waits_too_long_for_another_request_is_told(tmp_path: Path) -> None:
    service = Service(write_classifier(tmp_path / "a.clm"), Limits(seconds=0.2))
    with holding(service), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.forget, "класс 0")
        with pytest.raises(RefusedError, match="too long"):
            waiting.result()
        assert service.current().labels == ("класс 0", "класс 1")
    for _ in range(service._slots._initial_value):  # type: ignore[attr-defined]
        service._slots.acquire()
    with pytest.raises(RefusedError, match="busy"):
        service.predict(uploads(1, of=0), 1, 0)


@contextmanager
def holding(service: Service) -> Iterator[None]:
    with service._changing():
        yield


def test_a_file_of_another_backbone_is_taken_over_whole(service: Service) -> None:
    other = tiny_learner(seed=5)
    other.learn(pictures(3, of=4), "four")
    time.sleep(0.01)
    other.save(service.path)
    (answer,) = service.predict(uploads(1, of=4), 5, 2)
    assert answer.prediction.labels == ("four",)


@pytest.mark.parametrize("rule", ["teen", "teen_whitened", "lda", "ranpac"])
def test_every_rule_is_served(tmp_path: Path, rule: str) -> None:
    learner = photo_learner(photo_folder(tmp_path / "photos", 4, 6), rule)
    learner.save(tmp_path / "a.clm")
    service = Service(tmp_path / "a.clm", Limits())
    before = service.path.read_bytes()
    service.learn(uploads(5, of=7), "seven")
    service.forget("class1")
    query = uploads(2, of=7, seed=3)
    answers = service.predict(query, 3, 2)
    assert [one.prediction.labels[0] for one in answers] == ["seven", "seven"]
    expected = Learner.load(service.path).predict([one.content for one in query], top=3)
    for one, other in zip(answers, expected, strict=True):
        assert one.prediction.labels == other.labels
        assert one.prediction.probabilities == pytest.approx(other.probabilities, rel=1e-4)
    service.undo()
    assert "class1" in service.current().labels
    assert store.previous(service.path).exists() is False
    service.learn(uploads(1, of=8), "eight")
    service.undo()
    assert service.path.read_bytes() != before


def test_teaching_nothing_new_keeps_the_version_to_undo_to(service: Service) -> None:
    service.learn(uploads(2, of=2), "two")
    service.learn(uploads(2, of=2), "two")
    service.undo()
    assert service.current().labels == ("класс 0", "класс 1")


def test_reading_the_held_out_folder_ends_when_it_is_told_to(tmp_path: Path) -> None:
    learner = tiny_learner()
    learner.learn(pictures(2, of=0), "class0")
    held_out = HeldOut(photo_folder(tmp_path / "held", 2, 200))
    assert held_out.start(learner).total == 400
    held_out.stop()
    assert held_out._reading is not None
    assert not held_out._reading.is_alive()
    assert held_out._reading.progress.done < 400
