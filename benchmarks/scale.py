"""What a session costs in a run of 10, 100 and 1,000 sessions of ten classes, each in a process.

    python benchmarks/scale.py [features|images] [--sessions 10 100 1000] [--way 10 | --classes N]

`features` are random vectors behind an identity backbone; `images` are 8 x 8 pixels before a conv4.
Both are learned by `prototype` with console and dashboard, as `cl-suite run` does.

A session has parts that grow with what was learned: the head's rows, the counts of each class, and
the pass over the test samples of all classes seen (`test`). `--classes 1000` has as many in all, in
sessions of fewer classes if there are more sessions, so these parts are equal. What then differs is
what the number of sessions costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cl_suite import registry
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.engine.engine import Engine
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.info import peak_memory
from cl_suite.runs.listener import Listener
from cl_suite.runs.run import run
from cl_suite.storage import files

SHOTS, TESTS = 5, 2
SHAPES = {"features": (64,), "images": (3, 16, 16)}
RECIPE = ["--training.base_epochs", "1", "--training.incremental_epochs", "1"]
MODELS = {
    "features": ["--model.backbone", "identity", "--model.frozen", "true", "--model.bank", "false"],
    "images": ["--model.backbone", "conv4"],
}


@dataclass
class ManyClasses:
    """Sessions of random samples around a centre for each class."""

    inputs: str
    sessions: int
    way: int

    def build(self) -> Stream:
        generator = torch.Generator().manual_seed(0)
        num_classes, shape = self.sessions * self.way, SHAPES[self.inputs]
        centres = torch.randn(num_classes, *shape, generator=generator)

        def samples(classes: range, each: int) -> TensorSamples:
            targets = [c for c in classes for _ in range(each)]
            noise = torch.randn(len(targets), *shape, generator=generator)
            return TensorSamples(centres[targets] + noise, targets)

        groups = [range(first, first + self.way) for first in range(0, num_classes, self.way)]
        return build_stream(
            name="many_classes",
            class_names=[f"class {c}" for c in range(num_classes)],
            session_classes=groups,
            train=[samples(classes, SHOTS) for classes in groups],
            # of a class or two: a pass over tests times classes would hide all the rest
            test=[samples(classes[:TESTS], 1) for classes in groups],
            train_transform=Identity(),
            eval_transform=Identity(),
            way=self.way,
            shots=SHOTS,
        )


def configured(kind: str, sessions: int, way: int, out: Path, strategy: str) -> tuple[Any, Any]:
    """Return the settings of a run on such a stream, and its options."""
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", strategy)
    arguments = [*RECIPE, *MODELS[kind], "--out", str(out), "--device", "cpu"]
    (config,), options = resolve(*pair, arguments)
    scenario = ManyClasses(kind, sessions, way)
    named: RunConfig = dataclasses.replace(config, scenario=scenario, scenario_name="many_classes")
    return named, options


class Clock(Listener):
    """Notes the processor's time when each session begins, and what the largest parts took."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.train: list[float] = []
        self.test: list[float] = []
        self.drawing: list[float] = []
        self.drawn: list[float] = []  # seconds of drawing before each session
        for owner, name, seconds in (
            (Dashboard, "matrices", self.drawing),
            (Engine, "train_session", self.train),
            (Engine, "predictions", self.test),
        ):
            # of the class: the run makes its own objects
            setattr(owner, name, _timed(getattr(owner, name), seconds))

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        self.begun.append(time.process_time())
        self.drawn.append(sum(self.drawing))

    def ends(self, head: object) -> None:
        self.session_starts(-1, 0, 0)


def _timed(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        found = call(*arguments)
        seconds.append(time.process_time() - start)
        return found

    return timed


class Written:
    """Counts the bytes of whole files that are written."""

    def __init__(self) -> None:
        self.total, write = 0, files.atomic_write

        def counted(path: Path, content: bytes) -> None:
            self.total += len(content)
            write(path, content)

        for module in [m for name, m in sys.modules.items() if name.startswith("cl_suite")]:
            if getattr(module, "atomic_write", None) is write:
                vars(module)["atomic_write"] = counted


def measure(kind: str, sessions: int, way: int, strategy: str) -> dict[str, Any]:
    """Run in this process and return what the last tenth of the sessions cost, each."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        config, options = configured(kind, sessions, way, Path(place), strategy)
        before, clock, written = peak_memory(), Clock(), Written()
        found = run(config, options, [*registry.make_listeners(), clock])
        # without the very last one, whose pictures are always drawn; from a session's start to
        # the next one's: this includes the checkpoint after it
        last = slice(-max(2, sessions // 10) - 1, -1)
        whole = _mean([b - a for a, b in itertools.pairwise(clock.begun)][last])
        train, test = _mean(clock.train[last]), _mean(clock.test[last])
        drawn = _mean([b - a for a, b in itertools.pairwise(clock.drawn)][last])
        events = sum(path.stat().st_size for path in found.path.glob("events.*"))
        everything = [path.stat().st_size for path in found.path.rglob("*") if path.is_file()]
        return {
            "kind": kind,
            "sessions": sessions,
            "classes": sessions * way,
            "ms_train": round(1000 * train, 2),
            "ms_test": round(1000 * test, 2),
            "ms_rest": round(1000 * (whole - train - test - drawn), 2),
            "ms_pictures_a_session": round(1000 * clock.drawn[-1] / sessions, 2),
            "memory_bytes": peak_memory() - before,
            "checkpoint_bytes": found.checkpoint_file.stat().st_size,
            "events_bytes_a_session": events // sessions,
            "written_bytes_a_session": written.total // sessions,
            "folder_bytes_a_session": sum(everything) // sessions,
            "files": len(everything),
            "seconds": round(clock.begun[-1] - clock.begun[0], 2),
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Measure each number of sessions in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=sorted(SHAPES), default="features")
    parser.add_argument("--sessions", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--way", type=int, default=10)
    parser.add_argument("--classes", type=int, help="in all sessions together")
    parser.add_argument("--strategy", default="prototype")
    parser.add_argument("--here", action="store_true", help="in this process, as JSON")
    given = parser.parse_args()
    if given.here:
        found = measure(given.kind, given.sessions[0], given.way, given.strategy)
        print(f"\n{json.dumps(found)}")  # noqa: T201
        return
    for sessions in given.sessions:
        command = [sys.executable, __file__, given.kind, "--here", "--sessions", str(sessions)]
        way = given.way if given.classes is None else given.classes // sessions
        command += ["--way", str(way), "--strategy", given.strategy]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        print(done.stdout.splitlines()[-1], flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
