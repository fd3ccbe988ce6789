"""Trains a method in one process and in several, in processes of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Transform
from cl_suite.distributed import group
from cl_suite.storage import checkpoint
from cl_suite.testing.subject import Subject

SECONDS, SECONDS_AFTER_A_FAILURE = 300.0, 10.0


@dataclasses.dataclass(frozen=True)
class InDouble:
    """Return what a transform returns, in float64."""

    transform: Transform
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float32)
        try:
            return self.transform(x).double()
        finally:
            torch.set_default_dtype(torch.float64)


def in_processes(function: Callable[..., None], size: int, *arguments: Any) -> None:
    """Call a function in `size` new processes that belong together, as torchrun starts them.

    Args:
        function: of a module that can be imported; its arguments are sent to the processes.

    Raises:
        AssertionError: if one of them fails.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cl_suite.testing.several"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [(rank, size, port) for rank in range(size)]
    processes = [
        context.Process(target=_enter, args=(place, function, arguments)) for place in places
    ]
    for process in processes:
        process.start()
    _wait(processes)
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise AssertionError(f"of {size} processes some failed, with exit codes {codes}")


def _wait(processes: Sequence[BaseProcess]) -> None:
    """Wait until all have ended; once one has failed, end the others as torchrun does."""
    end = time.monotonic() + SECONDS
    while (left := [each for each in processes if each.is_alive()]) and time.monotonic() < end:
        connection.wait([each.sentinel for each in left], end - time.monotonic())
        if any(each.exitcode for each in processes):
            end = min(end, time.monotonic() + SECONDS_AFTER_A_FAILURE)
    for each in processes:
        each.terminate()
        each.join(SECONDS_AFTER_A_FAILURE)
        each.kill()
        each.join()


def learn_exactly(subject: Subject, file: Path) -> None:
    """Train a method in float64 in the processes of the environment; write what it has learned.

    The file holds the confusion matrix after each session, the whole state of training, and a
    digest of it for each process.
    """
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    subject.model_config()  # a tiny CLIP is written to disk by each process for itself
    group.start("cpu")
    stream = _in_double(subject.stream())
    engine = subject.engine(stream)
    engine.model.double()
    confusions = []
    for session in range(stream.info.num_sessions):
        engine.train_session(session)
        confusions.append(engine.evaluate(session))
    state = engine.state_dict()
    equal = {k: v for k, v in state.items() if k != "progress"}  # it holds durations
    own = hashlib.sha256(checkpoint.to_bytes({**equal, "seen": confusions})).digest()
    digests = group.gathered(torch.tensor(list(own), dtype=torch.uint8))
    learned = {k: state[k] for k in ("model", "plugin")}
    tree = {"confusions": confusions, "digests": [bytes(d).hex() for d in digests], **learned}
    checkpoint.save(file, tree)
    group.wait_for_all()


def _in_double(stream: Stream) -> Stream:
    info = stream.info
    return build_stream(
        name=info.name,
        class_names=info.class_names,
        session_classes=info.session_classes,
        train=stream.train,
        test=stream.test,
        train_transform=InDouble(info.train_transform),
        eval_transform=InDouble(info.eval_transform),
        way=info.way,
        shots=info.shots,
        modality=info.modality,
        kind=info.kind,
    )


def _enter(
    place: tuple[int, int, int], function: Callable[..., None], arguments: Sequence[Any]
) -> None:
    rank, size, port = place
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    function(*arguments)
