"""The real server on loopback: it says where it is, and a kill loses nothing that was answered."""

from __future__ import annotations

import importlib.util
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.served import TOKEN, forked_server, pngs, server, write_classifier

from cl_suite.errors import UserError
from cl_suite.learner import store
from cl_suite.learner.learner import Learner
from cl_suite.learner.serve import serve

SHOTS = 2  # pictures of each class that is taught
KNOWN = {"класс 0": 5, "класс 1": 5}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "a.clm")


class Pupil(threading.Thread):
    """Teaches one class after another, until the server is gone.

    Attributes:
        answered: classes whose request was answered by 200.
        tried: all classes, the last perhaps in vain.
    """

    def __init__(self, address: str, first: int) -> None:
        super().__init__()
        self.address, self.first = address, first
        self.answered: list[str] = []
        self.tried: list[str] = []
        self.is_under_way = threading.Event()

    def run(self) -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(headers=headers, timeout=60) as client:
            for number in range(self.first, self.first + 10_000):
                label, files = f"n{number}", pngs(SHOTS, of=number, seed=number)
                self.tried.append(label)
                try:
                    if len(self.answered) > 1:
                        self.is_under_way.set()
                    answer = client.post(
                        f"{self.address}api/learn", files=files, data={"label": label}
                    )
                except httpx.HTTPError:
                    return
                assert answer.status_code == 200, answer.text
                self.answered.append(label)


def killed_while_learning(path: Path, first: int, delay: float) -> Pupil:
    """Start the server, teach it, and kill it; return what was taught."""
    with forked_server(path) as (address, process):
        pupil = Pupil(address, first)
        pupil.start()
        assert pupil.is_under_way.wait(60)
        time.sleep(delay)
        process.kill()
        process.join(30)
        pupil.join(60)
    assert not pupil.is_alive()
    return pupil


def test_twenty_kills_lose_nothing_that_was_answered_and_leave_nothing_half_done(
    path: Path,
) -> None:
    delays = random.Random(0)
    expected, first = dict(KNOWN), 0
    for _ in range(20):
        pupil = killed_while_learning(path, first, delays.uniform(0, 0.1))
        expected |= dict.fromkeys(pupil.answered, SHOTS)
        found = Learner.load(path).counts
        in_flight = pupil.tried[-1]
        assert found in (expected, {**expected, in_flight: SHOTS})
        Learner.load(store.previous(path))
        expected, first = found, first + len(pupil.tried)
    with Learner.editing(path) as learner:  # no lock is left behind
        learner.forget("класс 0")


def test_the_printed_address_has_the_token(path: Path) -> None:
    with server(path, token="") as (address, process):
        page, _, token = address.partition("#token=")
        assert len(token) >= 32
        sent = {"authorization": f"Bearer {token}"}
        assert httpx.get(page).status_code == 200
        assert httpx.post(f"{page}api/forget", json={"label": "класс 0"}).status_code == 401
        answer = httpx.post(f"{page}api/forget", json={"label": "класс 0"}, headers=sent)
        assert answer.status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert Learner.load(path).labels == ("класс 1",)


def test_a_token_that_was_given_is_not_printed(path: Path) -> None:
    with server(path) as (address, _):
        assert TOKEN not in address
        assert httpx.get(f"{address}api/info", headers={"host": "a.example"}).status_code == 403


def test_a_port_that_is_taken_is_a_sentence(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}' cannot be listened at.*another"):
            serve(path, port=port)
    with pytest.raises(UserError, match="port must be in"):
        serve(path, port=70_000)


def test_unusable_files_and_folders_are_sentences(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        serve(tmp_path / "b.clm", port=0)
    with pytest.raises(UserError, match=r"'[^']*nothing'"):
        serve(path, port=0, held_out=tmp_path / "nothing")
    with pytest.raises(UserError, match="other machines reach host"):
        serve(path, host="0.0.0.0", port=0)


def test_missing_packages_name_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name in ("fastapi", "uvicorn") else original(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UserError, match=r"needs fastapi and uvicorn; .*cl-suite\[serve\]"):
        serve(path)


def test_importing_the_package_needs_neither_torch_nor_the_extra() -> None:
    import sys

    program = (
        "import sys, cl_suite.learner.serve\n"
        "assert not {'torch', 'fastapi', 'uvicorn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
