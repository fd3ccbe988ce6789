"""A tiny classifier behind its server: in this process, or in one of its own on loopback."""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from cl_suite.learner.serve import serve
from cl_suite.learner.serve.app import make_app
from cl_suite.learner.serve.held_out import HeldOut
from cl_suite.learner.serve.limits import Access, Limits
from cl_suite.learner.serve.service import Service
from helpers.learners import pictures, tiny_learner

TOKEN = "a-token-for-tests"
SERVE = """
import sys
from cl_suite.errors import UserError
from cl_suite.learner.serve import serve
try:
    serve(sys.argv[1], port=0, token=sys.argv[2] or None, held_out=sys.argv[3] or None)
except UserError as error:
    sys.exit(str(error))
"""


def png(of: int, seed: int = 0, **save: Any) -> bytes:
    """A picture of class `of`, as a file."""
    stored = io.BytesIO()
    Image.fromarray(pictures(1, of=of, seed=seed)[0]).save(stored, "PNG", **save)
    return stored.getvalue()


def pngs(number: int, *, of: int, seed: int = 0) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Pictures of class `of`, as the field `files` of a request."""
    return [("files", (f"{i}.png", png(of, 100 * seed + i), "image/png")) for i in range(number)]


def black_png(width: int, height: int) -> bytes:
    """A large picture in few bytes."""
    stored = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(stored, "PNG")
    return stored.getvalue()


def write_classifier(path: Path, classes: Sequence[int] = (0, 1), number: int = 5) -> Path:
    """Write a classifier that knows these classes by their number, in words of other scripts."""
    learner = tiny_learner()
    for label in classes:
        learner.learn(pictures(number, of=label), f"класс {label}")
    learner.save(path)
    return path


def app_of(
    path: Path, *, limits: Limits | None = None, host: str = "127.0.0.1", held_out: Any = None
) -> FastAPI:
    """The application that serves a classifier."""
    service = Service(path, limits or Limits())
    return make_app(service, Access(host, TOKEN), held_out and HeldOut(held_out))


def client_of(app: FastAPI, *, token: str | None = TOKEN, **headers: str) -> TestClient:
    """A client of the application, as a program on this machine would be."""
    shown = {"authorization": f"Bearer {token}"} if token else {}
    return TestClient(
        app, "http://127.0.0.1:8000", headers={**shown, **headers}, raise_server_exceptions=False
    )


@contextmanager
def server_in_thread(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of loopback; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            running.should_exit = True
            thread.join(timeout=30)


@contextmanager
def server(
    path: Path, *, token: str = TOKEN, held_out: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start the real server on a free port of loopback; yield its address and process."""
    command = [sys.executable, "-c", SERVE, str(path), token, str(held_out or "")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        found = (re.search(r"http://\S+", line) for line in process.stdout)
        yield next(match.group() for match in found if match), process
    finally:
        process.kill()
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def forked_server(path: Path) -> Iterator[tuple[str, Any]]:
    """Start the real server in a process that need not import torch again; see `server`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cl_suite.learner.serve.app", "uvicorn"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(path, theirs))
    process.start()
    theirs.close()
    try:
        assert ours.poll(60)
        yield ours.recv(), process
    finally:
        process.kill()
        process.join(30)


def _serve(path: Path, address: Any) -> None:
    class Output(io.StringIO):
        def flush(self) -> None:
            address.send(re.search(r"http://\S+", self.getvalue())[0])  # type: ignore[index]

    sys.stdout = Output()
    torch.set_num_threads(1)
    serve(path, port=0, token=TOKEN)
