"""A run's folder: the path of each file, atomic writes, and reads with clear errors."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cl_suite.errors import UserError, os_refusal
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.runs.reading import (
    checked_record,
    confidence_record,
    damaged,
    dynamics_record,
    read_json,
    read_lines,
    read_text,
    read_yaml,
)
from cl_suite.storage.files import atomic_write, make_folder
from cl_suite.storage.lines import Lines

if TYPE_CHECKING:  # a folder is read without the parser, whose import is slow
    from cl_suite.runs.config import RunConfig, RunOptions

HIT_ARRAYS = ("hits", "counts", "session_of_class")


@dataclass(frozen=True)
class SessionRecord:
    """The figures measured after one session.

    Attributes:
        session: 0 is the base session.
        accuracy: accuracy on the test images of all classes seen, a fraction.
        base, new: accuracy on the base session's classes, and on all later ones.
        harmonic: harmonic mean of base and new.
        forgetting: forgetting of the earlier sessions, unweighted.
        seconds_train, seconds_eval: duration of training and of evaluation.
        seen_classes: number of classes seen.
        gacc: generalised accuracy of the sessions so far.
        retention: accuracy over that of the base session.
        backward: backward transfer, unweighted.
        new_as_base: share of the later classes' test images called a base class; base_as_new: share
            of the base classes' called a later one.

    A fraction is None where it is undefined, as `new` is after the base session. The last five
    are missing in runs of version 0.5 and earlier.
    """

    session: int
    accuracy: float | None
    base: float | None
    new: float | None
    harmonic: float | None
    forgetting: float | None
    seconds_train: float
    seconds_eval: float
    seen_classes: int
    gacc: float | None = None
    retention: float | None = None
    backward: float | None = None
    new_as_base: float | None = None
    base_as_new: float | None = None


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, `runs/<scenario>/<strategy>/seed<k>`; it need not exist yet."""

    path: Path

    @staticmethod
    def of(config: RunConfig, options: RunOptions) -> RunFolder:
        """The folder of a run with this configuration."""
        pair = options.out / config.scenario_name / config.strategy_name
        return RunFolder(pair / f"seed{config.seed}")

    @property
    def config_file(self) -> Path:
        """The resolved settings, YAML; passed to `--config`, they repeat the run."""
        return self.path / "config.yaml"

    @property
    def run_info_file(self) -> Path:
        """Versions, machine, times and whether the run is finished, JSON."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object per session."""
        return self.path / "metrics.jsonl"

    @property
    def tasks_file(self) -> Path:
        """One JSON object per few-shot task, in place of the sessions' files."""
        return self.path / "tasks.jsonl"

    @property
    def hits_file(self) -> Path:
        """Hits and counts per class and session, from which every figure follows."""
        return self.path / "hits.npz"

    @property
    def matrix_file(self) -> Path:
        """The accuracy matrix, for other programs; it follows from the hits."""
        return self.path / "accuracy_matrix.npy"

    @property
    def checkpoint_file(self) -> Path:
        """The state to resume from."""
        return self.path / "checkpoint" / "last.safetensors"

    @property
    def base_file(self) -> Path:
        """The finished base session, for `--start-from`."""
        return self.path / "checkpoint" / "base.safetensors"

    @property
    def journal_file(self) -> Path:
        """The part of the state that only grows."""
        return self.path / "checkpoint" / "journal.jsonl"

    def confusion_file(self, session: int) -> Path:
        """A session's confusion matrix, from which a resumed run draws its dashboard again."""
        return self.path / "checkpoint" / f"confusion_{session}.safetensors"

    def probe(self, name: str) -> RunFolder:
        """The folder of a probe's figures, in files of the same names."""
        return RunFolder(self.path / "probes" / name)

    def make(self) -> None:
        """Create the folder; raise `UserError` if that is not possible."""
        make_folder(self.path)

    @property
    def model_file(self) -> Path:
        """The finished classifier."""
        return self.path / "model" / "model.safetensors"

    @property
    def learner_file(self) -> Path:
        """The classifier that goes on learning, for `Learner.from_run`."""
        return self.path / "model" / "classifier.clm"

    @property
    def is_run(self) -> bool:
        """Whether a run has been started here."""
        started = self.run_info_file.is_file() or self.metrics_file.is_file()
        return self.config_file.is_file() and started

    @property
    def is_planned(self) -> bool:
        """Whether a sweep has written a run's settings here, and no run has been started."""
        begun = (self.run_info_file, self.metrics_file, self.checkpoint_file, self.model_file)
        return self.config_file.is_file() and not any(path.exists() for path in begun)

    def write_start(self, run_info: dict[str, Any], settings: str) -> None:
        """Create the folder and write what a run is; the settings last, since they mark a run."""
        self.make()
        self.write_run_info(run_info)
        atomic_write(self.config_file, settings.encode())

    def write_run_info(self, content: dict[str, Any]) -> None:
        """Write versions, machine and times."""
        text = json.dumps(content, indent=2)
        # one line per session, not one per class
        text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
        atomic_write(self.run_info_file, text.encode())

    def write_metrics(self, records: Sequence[SessionRecord]) -> None:
        """Write the sessions' figures, whole or not at all."""
        lines = [json.dumps(dataclasses.asdict(record), allow_nan=False) for record in records]
        atomic_write(self.metrics_file, "".join(f"{line}\n" for line in lines).encode())

    def append_metrics(self, record: SessionRecord) -> None:
        """Add a session's figures to those of the sessions before."""
        line = json.dumps(dataclasses.asdict(record), allow_nan=False)
        Lines(self.metrics_file).append(line)

    @property
    def dynamics_file(self) -> Path:
        """How much each tensor moved, one JSON object per epoch; only if requested."""
        return self.path / "dynamics.jsonl"

    def write_dynamics(self, records: Sequence[dict[str, Any]]) -> None:
        """Write how much each tensor moved in each epoch."""
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        atomic_write(self.dynamics_file, lines.encode())

    def read_dynamics(self) -> list[dict[str, Any]]:
        """Return how much each tensor moved; raise `UserError` if that cannot be read."""
        path = self.dynamics_file
        if not path.is_file():
            raise UserError(
                f"run '{self.path}' has not recorded how its parameters move; repeat it with "
                "--evaluation.dynamics true"
            )
        return read_lines(path, dynamics_record)

    @property
    def confidence_file(self) -> Path:
        """How far probabilities can be trusted, one JSON object a session; only if requested."""
        return self.path / "confidence.jsonl"

    def write_confidence(self, records: Sequence[dict[str, Any]]) -> None:
        """Write how far probabilities can be trusted after each session."""
        lines = "".join(f"{json.dumps(record, allow_nan=False)}\n" for record in records)
        atomic_write(self.confidence_file, lines.encode())

    def read_confidence(self) -> list[dict[str, Any]]:
        """Return what `write_confidence` wrote; raise `UserError` if it cannot be read."""
        return read_lines(self.confidence_file, confidence_record)

    def write_hits(self, hits: Hits) -> None:
        """Write the hits, and the accuracy matrix that follows from them."""
        arrays, matrix = io.BytesIO(), io.BytesIO()
        np.savez_compressed(
            arrays,
            hits=hits.hits.astype(np.int64),
            counts=hits.counts.astype(np.int64),
            session_of_class=hits.session_of_class.astype(np.int64),
        )
        np.save(matrix, accuracy_matrix(hits)[0], allow_pickle=False)
        atomic_write(self.hits_file, arrays.getvalue())
        atomic_write(self.matrix_file, matrix.getvalue())

    def read_metrics(self) -> list[SessionRecord]:
        """Return the figures of the sessions done; raise `UserError` if they cannot be read."""
        return read_lines(
            self.metrics_file,
            lambda content, position: SessionRecord(**checked_record(content, position)),
            grows=True,
        )

    def read_hits(self) -> Hits:
        """Return the hits of the sessions done; raise `UserError` if they cannot be read."""
        path = self.hits_file
        try:
            if not path.exists():
                read_text(path)  # says so
            with np.load(path, allow_pickle=False) as arrays:
                return Hits(*(_whole(arrays[name]) for name in HIT_ARRAYS))
        except UserError:
            raise
        except OSError as error:
            raise UserError(os_refusal(error, path, "read")) from error
        except Exception as error:  # a damaged archive fails in more ways than can be listed
            raise damaged(path, str(error)) from error

    def read_config(self) -> dict[str, Any]:
        """Return the resolved settings; raise `UserError` if they cannot be read."""
        return read_yaml(self.config_file)

    def read_run_info(self) -> dict[str, Any]:
        """Return versions, machine and times; raise `UserError` if they cannot be read."""
        return read_json(self.run_info_file)


def find_runs(paths: Iterable[Path]) -> list[RunFolder]:
    """Return the runs at and below these paths, each once, seed 2 before seed 10.

    Raises:
        UserError: if a path does not exist, or holds no run.
    """
    found: dict[Path, RunFolder] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"'{path}' is not a folder; pass a run folder, or a folder of runs")
        runs = [RunFolder(path)] if RunFolder(path).is_run else _runs_below(path)
        if not runs:
            raise UserError(
                f"there is no run in '{path}'; a run folder holds config.yaml and run.json"
            )
        for run in runs:
            found.setdefault(run.path.resolve(), run)
    return list(found.values())


def _whole(array: NDArray[Any]) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu":
        raise ValueError(f"hits must be whole numbers, got {array.dtype}")
    return array.astype(np.int64)


def defined(value: float) -> float | None:
    """Return a fraction, or None for NaN."""
    return None if math.isnan(value) else float(value)


def _runs_below(path: Path) -> list[RunFolder]:
    runs = [RunFolder(config.parent) for config in path.rglob("config.yaml")]
    runs = [run for run in runs if not run.path.name.startswith(".")]  # being deleted
    return sorted((run for run in runs if run.is_run), key=lambda run: _natural_order(run.path))


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
