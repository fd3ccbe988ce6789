"""One run: build the pair, then for each session train, evaluate, log and checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import time

import torch

from cl_suite.avalanche.plugin_state import UnsaveableError
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.engine.plugins import EpochRecord
from cl_suite.errors import UserError
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.logging.run_dashboard import RunDashboard
from cl_suite.models.dynamics import Dynamics
from cl_suite.plugin import StrategyPlugin
from cl_suite.runs.assemble import build_model, build_stream
from cl_suite.runs.base_session import BaseArtefact, base_identity, load_base, save_base
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
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.saved_model import save_model
from cl_suite.storage import checkpoint
from cl_suite.storage.files import atomic_write


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
        check_stream(config, images)
        self.image_info: StreamInfo = images.info
        model, stream = build_model(config, images, progress.images)
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
            on_batch=progress.batch,
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
        """Run what is left of it."""
        if self.options.overwrite:
            # only now: whatever could be refused has been looked at
            self.folder.delete()
        self._write_start()
        self.dashboard = RunDashboard(self.folder, self.stream.info, self.log, self.probes)
        self.dashboard.replay(self.epochs)
        for note in self.stream.info.notes:
            self.progress.say(f"note: {note}")
        self.progress.say(parameters_line(self.engine.model))
        if (measured_by := self.run_info["measured_by"]) != IN_WORDS["classifier"]:
            self.progress.say(f"note: accuracies are those of {measured_by}")
        for session in range(len(self.log.records), self.stream.info.num_sessions):
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
            if self.dynamics is not None:
                self.dynamics.session_ends()
            self._save()
        self._measure(session)
        self._save()

    def _measure(self, session: int) -> None:
        start = time.perf_counter()
        confusions = self.engine.evaluate_sessions(session, self.engine.measure)
        seconds, trained = time.perf_counter() - start, self.engine.state.seconds
        # one file a session: the dashboard's pictures are drawn again after a resume
        confusion = {"confusion": torch.stack(confusions).sum(0).numpy()}
        checkpoint.save(self.folder.confusion_file(session), confusion)
        self.log.add(session, confusions, train=trained, eval=seconds)
        for name, log in self.probes.items():
            start = time.perf_counter()
            confusions = self.engine.evaluate_sessions(session, name)
            log.add(session, confusions, train=trained, eval=time.perf_counter() - start)
        if self.dynamics is not None:
            self.folder.write_dynamics(self.dynamics.records)
        self.dashboard.session(session)
        self.progress.num_sessions = self.stream.info.num_sessions
        self.progress.session_ends(self.log.records[-1])
        for name, log in self.probes.items():
            self.progress.probe(IN_WORDS[name], log.records[-1])
        self._say_note(session)
        self._say_kept()

    def _say_note(self, session: int) -> None:
        plugin = self.engine.plugin
        # one of Avalanche's has none
        if isinstance(plugin, StrategyPlugin) and (note := plugin.session_note(session)):
            self.progress.say(f"  {self.config.strategy_name} {note}")

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
        if self.dynamics is not None:
            self.dynamics.epoch(record.session, record.epoch)
        if record.loss is not None and not math.isfinite(record.loss) and not self.diverged:
            self.diverged = True
            self.progress.say(
                f"note: the loss is {record.loss} in session {record.session}, epoch "
                f"{record.epoch + 1}: training has diverged; a lower --training.lr helps"
            )
        self.dashboard.epoch(len(self.epochs) - 1, record)
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
        # a line a session, not a line a class
        text = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), text)
        atomic_write(self.folder.run_info_file, text.encode())

    def _finish(self) -> None:
        save_model(self.folder, self.config, self.engine.model, self.image_info)
        self.dashboard.finish(self.config, self.engine.model.head)
        self.run_info |= {
            "finished": True,
            "seconds_train": sum(r.seconds_train for r in self.log.records),
            "seconds_eval": sum(r.seconds_eval for r in self.log.records),
            "peak_memory_bytes": peak_memory(),
        }
        self._write_run_info()


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
