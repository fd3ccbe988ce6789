"""A run over a range of few-shot tasks in one process, each with the figures of a single run."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from typing import Any

from cl_suite.data.stream import Stream
from cl_suite.distributed.group import PeerError
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation import Predictions
from cl_suite.errors import UserError
from cl_suite.models.classifier import Classifier
from cl_suite.models.digest import state_digest
from cl_suite.plugin import answers_of
from cl_suite.randomness import use_repeatable_kernels
from cl_suite.runs.assemble import build_tasks
from cl_suite.runs.checks import changed_data, check_names, check_stream, other_weights
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.folder_run import FolderRun
from cl_suite.runs.info import run_info
from cl_suite.runs.listener import Listener, WatchedTasks
from cl_suite.runs.refusals import has_diverged, plain_divergence
from cl_suite.runs.task_records import TaskRecord, TasksFile, means
from cl_suite.runs.task_streams import FreshModels, TaskStreams

FINGERPRINT = 16  # characters of a task's, in its line


def tasks_of(config: RunConfig) -> Sequence[int] | None:
    """Return the tasks of a run over several, None for a run of one stream."""
    found: Sequence[int] | None = getattr(config.scenario, "tasks", None)
    return found


class TaskRun(FolderRun):
    """A run over many few-shot tasks in its folder.

    Data are read and the network is built once. Each task starts from the same weights, strategy
    and random numbers, as a single run of the task does. Its figures are one line of
    `tasks.jsonl`; networks are not kept.

    Raises:
        UserError: for bad input, before anything is trained or written.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, options: RunOptions, listener: Listener
    ) -> None:
        super().__init__(config, folder, options, listener)
        self.tasks: Sequence[int] = tasks_of(config) or ()
        self._check()
        use_repeatable_kernels(config.device)
        self.draw = build_tasks(config)
        self.file = TasksFile(folder.tasks_file)
        self.records: list[TaskRecord] = []
        first = self.draw(self.tasks[0])
        check_names(config, first.info)
        check_stream(config, first)
        self.models = FreshModels(config, first)
        self.streams = TaskStreams(config, self.draw, self.models.model, listener.images)
        ((_, self.images, self.first),) = self.streams.of(self.tasks[:1])
        self.engine = self._engine(self.images, self.first)
        self.run_info = run_info(self.first, self.engine.model, self.images.info) | {
            "measured_by": config.evaluation.in_words(self.engine.measure),
            "probes": list(self.engine.probes),
            **self._ground_entry(self.engine),
        }
        # of all tasks, once they are done
        self.run_info["stream"] |= {"fingerprint": ""}
        if options.resume and folder.config_file.exists():
            self._load()

    def place(self) -> str:
        model, data = state_digest(self.engine.model).hex(), self.images.info.fingerprint
        return f"{self.finished} {len(self.records)} {data} {model}"

    def _check(self) -> None:
        given = f"--scenario.task {self.config.scenario.task}"
        if self.config.start_from is not None:
            raise UserError(
                f"--start-from continues the base session of one task, but {given} has a base "
                "session for each; leave it out, or pass --model.weights RUN to start each task "
                "from that run's network"
            )
        if self.config.training.lr == "auto":
            raise UserError(
                f"--training.lr auto chooses a rate for one base session, but {given} has a base "
                "session for each task; pass a number, or run one task"
            )
        if self.options.on_collapse == "stop":
            raise UserError(
                f"--on-collapse stop judges one base session, but {given} has a base session for "
                "each; leave it out, or run one task"
            )
        if self.config.evaluation.confidence:
            raise UserError(
                f"--evaluation.confidence measures one classifier, but {given} has one for each "
                "task; leave it out, or run one task"
            )
        if self.config.evaluation.dynamics:
            raise UserError(
                f"--evaluation.dynamics records one network, but {given} trains one for each task; "
                "leave it out, or run one task"
            )

    def _load(self) -> None:
        """Take the tasks that the folder's run has done."""
        self.records = self.file.read()
        if strange := {record.task for record in self.records} - set(self.tasks):
            raise UserError(
                f"'{self.file.path}' has task {min(strange)}, which is not one of this run's; "
                "start afresh with --overwrite"
            )
        known = self.folder.read_run_info()
        weights = self.engine.model.backbone.weights
        if known.get("backbone_weights") not in (None, weights):
            raise other_weights(self.folder, known["backbone_weights"], weights)
        if self.records:
            last = self.records[-1]
            if last.data != self.draw(last.task).info.fingerprint[:FINGERPRINT]:
                raise changed_data(self.folder)
        self.finished = bool(known.get("finished"))

    def _engine(self, images: Stream, stream: Stream) -> Engine:
        """Return an engine for a task, in the state in which a single run begins."""
        model, strategy = self.models.make(images)
        self.streams.enter_behind_bank(model)
        sizes = [len(samples) for samples in stream.train]
        answers_of(strategy).check_stream(stream.info, sizes)
        config = self.config
        return Engine(
            stream,
            model,
            strategy,
            config.training,
            device=config.device,
            evaluation=config.evaluation,
        )

    def _start(self) -> None:
        self._take_folder()
        self.file.drop_half_line()
        watched = WatchedTasks(self.folder, self.config, self.first.info, self.tasks, self.records)
        self.listener.tasks_start(watched)
        self._say_facts(self.first.info, self.engine, each="each task: ")
        del self.engine, self.images

    def _work(self) -> None:
        done = {record.task for record in self.records}
        for task, images, stream in self.streams.of([t for t in self.tasks if t not in done]):
            self._task(task, images, stream)

    def _task(self, task: int, images: Stream, stream: Stream) -> None:
        engine = self._engine(images, stream)
        try:
            record = self._record(task, engine, images.info.fingerprint[:FINGERPRINT])
        except PeerError:
            raise
        except UserError as error:
            raise UserError(f"task {task}: {error}") from error
        if record.diverged and not any(each.diverged for each in self.records):
            self.listener.says(
                f"note: weights are not finite after task {task}: training has diverged; lower "
                "--training.lr"
            )
        self.owner.check()
        self.file.append(record)
        self.records.append(record)
        self._stand_alone()
        self.ends(engine.model)
        self.listener.task_ends(record)

    def ends(self, model: Classifier) -> None:
        """A task's network is about to be dropped; tests look at it."""

    def _record(self, task: int, engine: Engine, data: str) -> TaskRecord:
        measures = [engine.measure, *engine.probes]
        rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in measures}
        train = test = 0.0
        for session in range(engine.stream.info.num_sessions):
            with plain_divergence(engine.model, self.config.strategy_name):
                engine.train_session(session)
                train, start = train + engine.state.seconds, time.perf_counter()
                for name in measures:
                    rows[name].append(_hits_row(engine.predictions(session, name)))
                test += time.perf_counter() - start
        hits = {name: tuple(found) for name, found in rows.items()}
        return TaskRecord(
            task=task,
            images=tuple(len(samples) for samples in engine.stream.test),
            hits=hits.pop(engine.measure),
            seconds_train=train,
            seconds_eval=test,
            data=data,
            probes=hits,
            diverged=has_diverged(engine.model),
        )

    def _finish(self) -> None:
        self.owner.check()
        in_order = sorted(self.records, key=lambda record: record.task)
        data = hashlib.sha256("".join(record.data for record in in_order).encode()).hexdigest()
        self.run_info["stream"] |= {"fingerprint": data}
        self.listener.tasks_end()
        self._write_end(
            self.records,
            tasks=len(self.records),
            figures={name: _in_json(each) for name, each in means(self.records).items()},
            diverged_tasks=sum(record.diverged for record in self.records),
        )


def _hits_row(found: Sequence[Predictions]) -> tuple[int, ...]:
    """Return the samples of each session that were predicted correctly."""
    return tuple(int((each.labels == each.predicted).sum()) for each in found)


def _in_json(interval: Any) -> dict[str, float | int | None]:
    # a mean of a single task has no interval
    found = dataclasses.asdict(interval)
    return {name: None if value != value else value for name, value in found.items()}
