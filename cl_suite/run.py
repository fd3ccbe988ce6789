"""One run: build the pair, then for each session train, evaluate, log and checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import time
from typing import Any

import numpy as np
import torch
import yaml

from cl_suite import checkpoint
from cl_suite.base_session import BaseArtefact, base_identity, load_base, save_base
from cl_suite.config import RunConfig, RunOptions
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.engine import Engine
from cl_suite.engine_plugins import EpochRecord
from cl_suite.errors import UserError
from cl_suite.files import atomic_write
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.metrics.headline import headline
from cl_suite.plugin_state import UnsaveableError
from cl_suite.run_folder import RunFolder, SessionRecord, session_record
from cl_suite.run_info import parameters_line, peak_memory, run_info
from cl_suite.run_model import build_model, build_stream
from cl_suite.run_setup import check_names, check_pair, flatten, prepare_folder
from cl_suite.saved_model import save_model

SECONDS_BETWEEN_PICTURES = 5.0


class Run:
    """A run in its folder.

    Args:
        config: the resolved settings.
        folder: where it lives; `prepare_folder` has checked it.
        options: whether to go on from the folder's checkpoint, or to replace what it holds.
        progress: the console.

    Raises:
        UserError: for bad input, before anything is trained or written.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, options: RunOptions, progress: ConsoleProgress
    ) -> None:
        self.config, self.folder, self.options = config, folder, options
        self.progress = progress
        if config.device.startswith("cuda"):
            # the same bits again; where an operation has no such form, torch warns
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        images = build_stream(config)
        check_names(config, images.info)
        self.image_info: StreamInfo = images.info
        model, stream = build_model(config, images, progress.images)
        self.stream: Stream = stream
        info = stream.info
        self.engine = Engine(
            self.stream,
            model,
            config.strategy,
            config.training,
            device=config.device,
            on_batch=progress.batch,
            on_epoch=self._after_epoch,
            start=load_base(config, stream, model.backbone) if config.start_from else None,
        )
        self.epochs: list[EpochRecord] = []
        self.records: list[SessionRecord] = []
        self.hits = np.zeros((0, info.num_classes), dtype=np.int64)
        self.run_info = run_info(self.stream, model)
        self.resumable, self.diverged = True, False
        self.last_picture = time.monotonic()
        if options.resume and not options.overwrite and folder.checkpoint_file.exists():
            self._load()

    def go(self) -> None:
        """Run what is left of it."""
        if self.options.overwrite:
            # only now: whatever could be refused has been looked at
            self.folder.delete()
        self._write_start()
        self.dashboard = Dashboard.fresh(self.folder.path)
        self._replay()
        for note in self.stream.info.notes:
            self.progress.say(f"note: {note}")
        self.progress.say(parameters_line(self.engine.model))
        for session in range(len(self.records), self.stream.info.num_sessions):
            self._session(session)
        self._finish()

    def _session(self, session: int) -> None:
        state = self.engine.state
        if not (state.session == session and state.finished):
            done = state.epochs_done if state.session == session else 0
            epochs = self.engine.num_epochs(session)
            self.progress.session_starts(session, self.stream.info.num_sessions, epochs, done)
            self.engine.train_session(session)
            if session == 0 and self.engine.artefact is not None:
                self._save_base(self.engine.artefact)
            self._save()
        start = time.perf_counter()
        confusion = self.engine.evaluate(session).numpy()
        self._record(session, confusion, time.perf_counter() - start)
        self._save()

    def _record(self, session: int, confusion: np.ndarray[Any, Any], seconds: float) -> None:
        self.hits = np.concatenate([self.hits, confusion.diagonal()[None].astype(np.int64)])
        # one file a session: the dashboard's pictures are drawn again after a resume
        checkpoint.save(self.folder.confusion_file(session), {"confusion": confusion})
        info = self.stream.info
        record = session_record(
            self.figures(),
            session,
            seconds_train=self.engine.state.seconds,
            seconds_eval=seconds,
            seen_classes=len(info.seen_classes(session)),
        )
        self.records.append(record)
        self.folder.write_metrics(self.records)
        self.folder.write_hits(self.figures())
        self._show_session(record, confusion)
        self.progress.num_sessions = info.num_sessions
        self.progress.session_ends(record)
        self._say_kept()

    def figures(self) -> Hits:
        """Return the hits and counts of the sessions done."""
        info = self.stream.info
        counts = np.zeros(info.num_classes, dtype=np.int64)
        session_of_class = np.full(info.num_classes, -1, dtype=np.int64)
        for session, classes in enumerate(info.session_classes):
            session_of_class[list(classes)] = session
            targets = np.asarray(self.stream.test[session].targets, dtype=np.int64)
            counts += np.bincount(targets, minlength=info.num_classes)
        return Hits(self.hits, counts, session_of_class)

    def _say_kept(self) -> None:
        try:
            num, num_bytes = self.engine.kept_data()
        except UnsaveableError:
            return
        self.run_info["kept_samples"], self.run_info["kept_bytes"] = num, num_bytes
        if num:
            self.progress.say(
                f"  {self.config.strategy_name} keeps {num:,} samples "
                f"({num_bytes:,} bytes) for later sessions"
            )

    def _after_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)
        if record.loss is not None and not math.isfinite(record.loss) and not self.diverged:
            self.diverged = True
            self.progress.say(
                f"note: the loss is {record.loss} in session {record.session}, epoch "
                f"{record.epoch + 1}: training has diverged; a lower --training.lr helps"
            )
        self._show_epoch(len(self.epochs) - 1, record)
        self.progress.epoch(record)
        self._save()

    # --- what is on disk ---

    def _save(self) -> None:
        if not self.resumable:
            return
        try:
            engine = self.engine.state_dict()
        except UnsaveableError as error:
            self.resumable = False
            self.progress.say(
                f"note: strategy '{self.config.strategy_name}' keeps a {error} that cannot be "
                "saved, so this run cannot be resumed; give it state_dict and load_state_dict"
            )
            return
        tree = {
            "config": self.config.text,
            "fingerprint": self.stream.info.fingerprint,
            "engine": engine,
            "epochs": [dataclasses.asdict(record) for record in self.epochs],
            "records": [dataclasses.asdict(record) for record in self.records],
            "hits": self.hits,
        }
        checkpoint.save(self.folder.checkpoint_file, tree)

    def _load(self) -> None:
        tree = checkpoint.load(self.folder.checkpoint_file, self.config.device)
        if tree["config"] != self.config.text:
            raise UserError(
                f"the checkpoint of run '{self.folder.path}' belongs to other settings; start "
                "afresh with --overwrite"
            )
        if tree["fingerprint"] != self.stream.info.fingerprint:
            raise UserError(
                f"the data of run '{self.folder.path}' has changed since it was stopped; put the "
                "old data back, or start afresh with --overwrite"
            )
        self.epochs = [EpochRecord(**record) for record in tree["epochs"]]
        self.records = [SessionRecord(**record) for record in tree["records"]]
        self.hits = tree["hits"]
        self.engine.load_state_dict(tree["engine"])

    def _save_base(self, artefact: BaseArtefact) -> None:
        identity = base_identity(self.config, self.stream, self.engine.model.backbone)
        save_base(self.folder, artefact, identity)

    def _write_start(self) -> None:
        self.folder.make()
        # the settings last: a folder that has them has all the rest
        self._write_run_info()
        atomic_write(self.folder.config_file, self.config.text.encode())

    def _write_run_info(self) -> None:
        text = json.dumps(self.run_info, indent=2)
        # a line a session, not a line a class
        text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
        atomic_write(self.folder.run_info_file, text.encode())

    def _finish(self) -> None:
        save_model(self.folder, self.config, self.engine.model, self.image_info)
        self._show_prototypes()
        self.dashboard.finish(_hyperparameters(self.config), _final_figures(self.figures()))
        self.dashboard.close()
        self.run_info |= {
            "finished": True,
            "seconds_train": sum(r.seconds_train for r in self.records),
            "seconds_eval": sum(r.seconds_eval for r in self.records),
            "peak_memory_bytes": peak_memory(),
        }
        self._write_run_info()

    # --- the dashboard; all of it can be replayed from the checkpoint ---

    def _replay(self) -> None:
        for step, epoch in enumerate(self.epochs):
            self._show_epoch(step, epoch)
        for record in self.records:
            tree = checkpoint.load(self.folder.confusion_file(record.session))
            self._show_session(record, tree["confusion"])

    def _show_epoch(self, step: int, record: EpochRecord) -> None:
        self.dashboard.epoch(
            step=step,
            session=record.session,
            loss=math.nan if record.loss is None else record.loss,
            learning_rate=record.learning_rate,
            images_per_second=record.num_samples / record.seconds if record.seconds else 0.0,
        )

    def _show_session(self, record: SessionRecord, confusion: np.ndarray[Any, Any]) -> None:
        info, session = self.stream.info, record.session
        last = session == info.num_sessions - 1
        # a run of short sessions would spend most of its time on drawing
        drawn = last or time.monotonic() - self.last_picture > SECONDS_BETWEEN_PICTURES
        if drawn:
            self.last_picture = time.monotonic()
        seen = list(info.seen_classes(session))
        hits = self.figures()
        self.dashboard.session(
            record,
            Hits(hits.hits[: session + 1], hits.counts, hits.session_of_class),
            confusion[np.ix_(seen, seen)],
            [info.class_names[c] for c in seen],
            info.session_classes[: session + 1],
            pictures=drawn,
        )

    def _show_prototypes(self) -> None:
        head, info = self.engine.model.head, self.stream.info
        of_class = {c: s for s, classes in enumerate(info.session_classes) for c in classes}
        self.dashboard.prototypes(
            head.rows(head.classes).cpu().numpy(),
            [info.class_names[c] for c in head.classes],
            [of_class[c] for c in head.classes],
        )


def run(config: RunConfig, options: RunOptions, progress: ConsoleProgress) -> RunFolder:
    """Run one configuration to its end and return its folder.

    Raises:
        UserError: for bad input, an occupied folder, a damaged checkpoint or a full disk.
    """
    name = f"seed{config.seed}"
    folder = RunFolder(options.out / config.scenario_name / config.strategy_name / name)
    check_pair(config)
    if not prepare_folder(folder, config, options):
        progress.say(f"run '{folder.path}' is finished already; nothing to do")
        return folder
    try:
        Run(config, folder, options, progress).go()
    finally:
        progress.stop()
    return folder


def _hyperparameters(config: RunConfig) -> dict[str, Any]:
    flat = flatten(yaml.safe_load(config.text))
    plain = (bool, int, float, str)
    kept = {k: v if isinstance(v, plain) else str(v) for k, v in flat.items() if v is not None}
    return {**kept, "seed": config.seed}


def _final_figures(hits: Hits) -> dict[str, float]:
    final = headline(hits)
    return {
        "average accuracy": final.average,
        "last accuracy": final.last,
        "harmonic mean": final.harmonic,
        "forgetting": final.forgetting,
    }
