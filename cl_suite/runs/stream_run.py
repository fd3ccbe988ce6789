"""A run of one stream: build the pair, then for each session train, evaluate, log, checkpoint."""

from __future__ import annotations

import time

from cl_suite.avalanche.plugin_state import UnsaveableError
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.distributed.group import (
    alone,
    is_first,
)
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation import joined
from cl_suite.engine.session import EpochRecord
from cl_suite.learner.trained import Album, album_of
from cl_suite.models.digest import state_digest
from cl_suite.models.dynamics import Dynamics
from cl_suite.plugin import answers_of
from cl_suite.randomness import use_repeatable_kernels
from cl_suite.runs.alarm import Alarm
from cl_suite.runs.assemble import build_model, build_stream
from cl_suite.runs.base_session import (
    base_identity,
    drop_damaged_base,
    load_base,
    save_base,
)
from cl_suite.runs.checkpoint import Checkpoint
from cl_suite.runs.checks import (
    check_names,
    check_stream,
    drawn_by_seed,
    is_finished,
)
from cl_suite.runs.confidence_log import confidence_log
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.confusion_file import is_pictured, store_confusion
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.folder_run import FolderRun
from cl_suite.runs.forecast import Pace
from cl_suite.runs.info import run_info
from cl_suite.runs.listener import Listener, WatchedRun
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.rate_trials import recipe_of
from cl_suite.runs.refusals import plain_divergence
from cl_suite.runs.saved_model import save_learner, save_model


class Run(FolderRun):
    """A run of one stream, session by session.

    Raises:
        UserError: for bad input, before anything is trained or written.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, options: RunOptions, listener: Listener
    ) -> None:
        super().__init__(config, folder, options, listener)
        use_repeatable_kernels(config.device)
        images = build_stream(config)
        check_names(config, images.info)
        check_stream(config, images)
        self.image_info: StreamInfo = images.info
        model, stream = build_model(config, images, listener.images)
        self.stream: Stream = stream
        # of images that the bank replaces; they are in memory no longer than that
        self.album: Album | None = None if stream is images else album_of(images)
        info = stream.info
        answers_of(config.strategy).check_stream(info, [len(samples) for samples in stream.train])
        training, chosen = recipe_of(
            config, stream, model, folder, listener.says, resume=options.resume
        )
        self.engine = Engine(
            self.stream,
            model,
            config.strategy,
            training,
            device=config.device,
            on_batch=self._after_batch,
            on_epoch=self._after_epoch,
            start=load_base(config, stream, model.backbone) if config.start_from else None,
            evaluation=config.evaluation,
            watches=options.on_collapse != "off",
        )
        self.alarm = Alarm(self.engine, config, options.on_collapse, listener)
        self.epochs: list[EpochRecord] = []
        self.log = MeasureLog(folder, stream)
        self.probes = {name: MeasureLog(folder.probe(name), stream) for name in self.engine.probes}
        self.dynamics = Dynamics(model) if config.evaluation.dynamics else None
        self.confidence = confidence_log(folder, self.engine, config)
        self.run_info = run_info(self.stream, model, images.info) | {
            "measured_by": config.evaluation.in_words(self.engine.measure),
            "uses_test_features": config.evaluation.transductive != "none",
            "probes": list(self.probes),
            "drawn_by_seed": drawn_by_seed(config),
            **self._ground_entry(self.engine),
            **chosen,
        }
        self.resumable = True
        self.pace = Pace()
        goes_on = options.resume and folder.config_file.exists()
        self.finished = goes_on and is_finished(folder, images.info, model.backbone.weights)
        self.checkpoint = Checkpoint(
            folder, config, self.engine, self.epochs, self.log, self.probes, self.dynamics, chosen
        )
        if options.resume and not self.finished and folder.checkpoint_file.exists():
            self.checkpoint.load()
        self.alarm.looks_back(self.epochs)

    def place(self) -> str:
        state, model = self.engine.state, state_digest(self.engine.model).hex()
        data = self.stream.info.fingerprint
        return f"{self.finished} {state.session} {state.epochs_done} {data} {model}"

    def _start(self) -> None:
        self.run_info |= self.alarm.entries()
        self._take_folder()
        self.listener.starts(
            WatchedRun(
                self.folder,
                self.config,
                self.stream.info,
                self.log,
                self.probes,
                self.epochs,
                session_epochs=[self.engine.num_epochs(s) for s in range(len(self.stream.train))],
                session_sizes=[len(samples) for samples in self.stream.train],
            )
        )
        self._say_facts(self.stream.info, self.engine)
        self.alarm.says()
        if self.config.evaluation.transductive != "none":
            self.listener.says(
                "note: these figures do not compare with those of runs that are not transductive"
            )
        damage = drop_damaged_base(self.folder) if is_first() and self.log.records else None
        if damage is not None:
            self.listener.says(f"note: {damage}; it is deleted, so no run can --start-from it")

    def _work(self) -> None:
        self.alarm.acts()
        for session in range(len(self.log.records), self.stream.info.num_sessions):
            with plain_divergence(self.engine.model, self.config.strategy_name):
                self._session(session)

    def _session(self, session: int) -> None:
        state = self.engine.state
        if not (state.session == session and state.finished):
            done = state.epochs_done if state.session == session else 0
            epochs = self.engine.num_epochs(session)
            self.listener.session_starts(session, epochs, done)
            self.pace.starts()
            self.engine.train_session(session)
            self.owner.check()
            self.alarm.session(session)
            if session == 0 and self.engine.artefact is not None:
                identity = base_identity(self.config, self.stream, self.engine.model.backbone)
                save_base(self.folder, self.engine.artefact, identity)
            if self.dynamics is not None:
                self.dynamics.session_ends()
            self._save()
            self._act()
        self._measure(session)
        self._save()

    def _measure(self, session: int) -> None:
        start = time.perf_counter()
        found = self.engine.predictions(session, self.engine.measure)
        seconds, trained = time.perf_counter() - start, self.engine.state.seconds
        self.owner.check()
        if is_pictured(session, self.stream.info.num_sessions):
            # the dashboard's pictures are drawn again after a resume
            store_confusion(self.folder, session, joined(found))
        self.log.add(session, found, train=trained, eval=seconds)
        for name, log in self.probes.items():
            start = time.perf_counter()
            found = self.engine.predictions(session, name)
            log.add(session, found, train=trained, eval=time.perf_counter() - start)
        if self.dynamics is not None:
            self.folder.write_dynamics(self.dynamics.records)
        if self.confidence is not None:
            self.confidence.measure(session)
        self.listener.session_ends(session)
        self._say_note(session)
        self._say_kept()

    def _say_note(self, session: int) -> None:
        if note := answers_of(self.engine.plugin).session_note(session):
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
        self.alarm.epoch(record)
        self.listener.epoch(record)
        self._save()
        self._act()

    def _after_batch(self, session: int, epoch: int, step: int, num_steps: int) -> None:
        self.listener.batch(session, epoch, step, num_steps)
        epochs = self.engine.num_epochs(session)
        if (text := self.pace.step(epoch, step, num_steps, epochs)) is not None:
            self.listener.says(text)

    def _act(self) -> None:
        """Store what training did, and end the run if it did wrong and the user wants that."""
        found = self.run_info | self.alarm.entries()
        if found != self.run_info:
            self.run_info = found
            self.folder.write_run_info(found)
        self.alarm.acts()

    def _save(self) -> None:
        self.owner.check()
        if not self.resumable or not is_first():
            return
        try:
            with alone():  # a strategy may run its network to say what it has learned
                self.checkpoint.save()
        except UnsaveableError as error:
            self.resumable = False
            self.listener.says(
                f"note: strategy '{self.config.strategy_name}' keeps a {error} that cannot be "
                "saved, so this run cannot be resumed; add state_dict and load_state_dict to it"
            )
            return
        self._stand_alone()

    def _finish(self) -> None:
        self.owner.check()
        if is_first():
            with alone():
                save_model(self.folder, self.config, self.engine.model, self.image_info)
                reason = self._save_learner()
            self.run_info |= {"no_learner": reason} if reason else {}
        self.listener.ends(self.engine.model.head)
        self._write_end(self.log.records, forward_samples=self.engine.passes.num)
        self._stand_alone()

    def _save_learner(self) -> str | None:
        try:
            album = self.album or album_of(self.stream)
            return save_learner(self.folder, self.config, self.engine, album)
        except Exception as error:
            # such as pictures that are gone by now: hours of training are not lost for that
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.listener.says(f"note: no classifier that goes on learning is left: {reason}")
            return reason
