"""One run: build the pair, then for each session train, evaluate, log and checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Sequence

import torch

from cl_suite.avalanche.plugin_state import UnsaveableError
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.engine.session import BaseArtefact, EpochRecord
from cl_suite.errors import UserError
from cl_suite.models.dynamics import Dynamics
from cl_suite.plugin import StrategyPlugin
from cl_suite.runs.assemble import build_model, build_stream
from cl_suite.runs.base_session import base_identity, load_base, save_base
from cl_suite.runs.checks import (
    check_names,
    check_pair,
    check_stream,
    drawn_by_seed,
    prepare_folder,
)
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.info import parameters_line, peak_memory, run_info
from cl_suite.runs.listener import Listener, Listeners, WatchedRun
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.saved_model import save_model
from cl_suite.storage import checkpoint
from cl_suite.storage.files import atomic_write


class Run:
    """A run in its folder.

    Args:
        config: the resolved settings.
        folder: the run's folder, checked by `prepare_folder`.
        options: whether to resume from the folder's checkpoint, or to replace its files.
        listener: is called as the run progresses.

    Raises:
        UserError: for bad input, before anything is trained or written.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, options: RunOptions, listener: Listener
    ) -> None:
        self.config, self.folder, self.options = config, folder, options
        self.listener = listener
        if config.device.startswith("cuda"):
            # repeats give the same bits; torch warns if an operation is not deterministic
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        images = build_stream(config)
        check_names(config, images.info)
        check_stream(config, images)
        self.image_info: StreamInfo = images.info
        model, stream = build_model(config, images, listener.images)
        self.stream: Stream = stream
        info = stream.info
        if hasattr(config.strategy, "check_stream"):
            config.strategy.check_stream(info, [len(samples) for samples in stream.train])
        self.engine = Engine(
            self.stream,
            model,
            config.strategy,
            config.training,
            device=config.device,
            on_batch=listener.batch,
            on_epoch=self._after_epoch,
            start=load_base(config, stream, model.backbone) if config.start_from else None,
            evaluation=config.evaluation,
        )
        self.epochs: list[EpochRecord] = []
        self.log = MeasureLog(folder, stream)
        self.probes = {name: MeasureLog(folder.probe(name), stream) for name in self.engine.probes}
        self.dynamics = Dynamics(model) if config.evaluation.dynamics else None
        self.run_info = run_info(self.stream, model) | {
            "measured_by": config.evaluation.in_words(self.engine.measure),
            "probes": list(self.probes),
            "drawn_by_seed": drawn_by_seed(config),
        }
        self.resumable, self.diverged = True, False
        if options.resume and not options.overwrite and folder.checkpoint_file.exists():
            self._load()

    def go(self) -> None:
        """Run the remaining sessions."""
        if self.options.overwrite:
            # only now, after all checks
            self.folder.delete()
        self._write_start()
        self.listener.starts(
            WatchedRun(
                self.folder, self.config, self.stream.info, self.log, self.probes, self.epochs
            )
        )
        for note in self.stream.info.notes:
            self.listener.says(f"note: {note}")
        self.listener.says(parameters_line(self.engine.model))
        if (measured_by := self.run_info["measured_by"]) != IN_WORDS["classifier"]:
            self.listener.says(f"note: accuracies are those of {measured_by}")
        for session in range(len(self.log.records), self.stream.info.num_sessions):
            self._session(session)
        self._finish()

    def _session(self, session: int) -> None:
        state = self.engine.state
        if not (state.session == session and state.finished):
            done = state.epochs_done if state.session == session else 0
            epochs = self.engine.num_epochs(session)
            self.listener.session_starts(session, epochs, done)
            self.engine.train_session(session)
            if session == 0 and self.engine.artefact is not None:
                self._save_base(self.engine.artefact)
            if self.dynamics is not None:
                self.dynamics.session_ends()
            self._save()
        self._measure(session)
        self._save()

    def _measure(self, session: int) -> None:
        start = time.perf_counter()
        confusions = self.engine.evaluate_sessions(session, self.engine.measure)
        seconds, trained = time.perf_counter() - start, self.engine.state.seconds
        # one file per session: the dashboard's pictures are drawn again after a resume
        confusion = {"confusion": torch.stack(confusions).sum(0).numpy()}
        checkpoint.save(self.folder.confusion_file(session), confusion)
        self.log.add(session, confusions, train=trained, eval=seconds)
        for name, log in self.probes.items():
            start = time.perf_counter()
            confusions = self.engine.evaluate_sessions(session, name)
            log.add(session, confusions, train=trained, eval=time.perf_counter() - start)
        if self.dynamics is not None:
            self.folder.write_dynamics(self.dynamics.records)
        self.listener.session_ends(session)
        self._say_note(session)
        self._say_kept()

    def _say_note(self, session: int) -> None:
        plugin = self.engine.plugin
        # Avalanche's plugins have none
        if isinstance(plugin, StrategyPlugin) and (note := plugin.session_note(session)):
            self.listener.says(f"  {self.config.strategy_name} {note}")

    def _say_kept(self) -> None:
        try:
            num, num_bytes = self.engine.kept_data()
        except UnsaveableError:
            return
        self.run_info["kept_samples"], self.run_info["kept_bytes"] = num, num_bytes
        if num:
            self.listener.says(
                f"  {self.config.strategy_name} keeps {num:,} samples "
                f"({num_bytes:,} bytes) for later sessions"
            )

    def _after_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)
        if self.dynamics is not None:
            self.dynamics.epoch(record.session, record.epoch)
        if record.loss is not None and not math.isfinite(record.loss) and not self.diverged:
            self.diverged = True
            self.listener.says(
                f"note: the loss is {record.loss} in session {record.session}, epoch "
                f"{record.epoch + 1}: training has diverged; lower --training.lr"
            )
        self.listener.epoch(record)
        self._save()

    # --- files on disk ---

    def _save(self) -> None:
        if not self.resumable:
            return
        try:
            engine = self.engine.state_dict()
        except UnsaveableError as error:
            self.resumable = False
            self.listener.says(
                f"note: strategy '{self.config.strategy_name}' keeps a {error} that cannot be "
                "saved, so this run cannot be resumed; add state_dict and load_state_dict to it"
            )
            return
        tree = {
            "config": self.config.text,
            "fingerprint": self.stream.info.fingerprint,
            "engine": engine,
            "epochs": [dataclasses.asdict(record) for record in self.epochs],
            "measured": self.log.state_dict(),
            "probes": {name: log.state_dict() for name, log in self.probes.items()},
            "dynamics": self.dynamics.records if self.dynamics is not None else [],
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
        self.log.load_state_dict(tree["measured"])
        for name, log in self.probes.items():
            log.load_state_dict(tree["probes"][name])
        self.engine.load_state_dict(tree["engine"])
        if self.dynamics is not None:
            self.dynamics.restart(tree["dynamics"], tree["engine"]["model"])

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
        # one line per session, not one per class
        text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
        atomic_write(self.folder.run_info_file, text.encode())

    def _finish(self) -> None:
        save_model(self.folder, self.config, self.engine.model, self.image_info)
        self.listener.ends(self.engine.model.head)
        self.run_info |= {
            "finished": True,
            "seconds_train": sum(r.seconds_train for r in self.log.records),
            "seconds_eval": sum(r.seconds_eval for r in self.log.records),
            "peak_memory_bytes": peak_memory(),
        }
        self._write_run_info()


def run(config: RunConfig, options: RunOptions, listeners: Sequence[Listener] = ()) -> RunFolder:
    """Run one configuration to its end and return its folder.

    Args:
        listeners: listeners of the run; see `cl_suite.registry.make_listeners` for the usual ones.

    Raises:
        UserError: for bad input, an occupied folder, a damaged checkpoint or a full disk.
    """
    name, listener = f"seed{config.seed}", Listeners(listeners)
    folder = RunFolder(options.out / config.scenario_name / config.strategy_name / name)
    try:
        check_pair(config)
        if prepare_folder(folder, config, options):
            Run(config, folder, options, listener).go()
        else:
            listener.says(f"run '{folder.path}' is finished already; nothing to do")
    finally:
        listener.stops()
    return folder
