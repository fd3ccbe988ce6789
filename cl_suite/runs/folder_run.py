"""What a run of one stream and a run over many tasks have in common: their folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from cl_suite import registry
from cl_suite.data.stream import StreamInfo
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import IN_WORDS
from cl_suite.engine.ground import ground_of, off_ground
from cl_suite.runs.config import RunConfig, RunOptions
from cl_suite.runs.finished import finished_line
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.forecast import training_line, training_notes
from cl_suite.runs.info import peak_memory
from cl_suite.runs.listener import Listener
from cl_suite.runs.lock import Ownership
from cl_suite.runs.replacing import discard_old, put_back, set_aside


class Timed(Protocol):
    """A record with durations."""

    @property
    def seconds_train(self) -> float: ...

    @property
    def seconds_eval(self) -> float: ...


class FolderRun:
    """A run in its folder; a subclass says how it starts, works and finishes.

    Args:
        config: the resolved settings.
        folder: the run's folder, checked by `prepare_folder`.
        options: whether to resume from what the folder holds, or to replace its files.
        listener: is called as the run progresses.

    Attributes:
        run_info: the content of run.json.
        finished: whether the folder holds this run, finished.
        replaces: whether the run that was here before still waits to come back.
    """

    run_info: dict[str, Any]
    owner: Ownership

    def __init__(
        self, config: RunConfig, folder: RunFolder, options: RunOptions, listener: Listener
    ) -> None:
        self.config, self.folder, self.options = config, folder, options
        self.listener = listener
        self.finished, self.replaces = False, False

    def place(self) -> str:
        """Return where the run stands, to be compared with other processes."""
        raise NotImplementedError

    def go(self) -> None:
        """Run what is left; a run that this one replaces comes back if it fails early."""
        if self.finished:
            self.listener.says(finished_line(self.folder))
            return
        if self.options.overwrite:
            # only now, after all checks
            set_aside(self.folder)
            self.replaces = True
        try:
            self._start()
            self._work()
            self._finish()
        except BaseException:
            if self.replaces:
                put_back(self.folder)
            raise

    def _start(self) -> None:
        raise NotImplementedError

    def _work(self) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def _take_folder(self) -> None:
        """Write what the run is; from now on another run's writes are noticed."""
        self.folder.write_start(self.run_info, self.config.text)
        self.owner = Ownership(self.folder, self.config.text, self.run_info["id"])

    def _ground_entry(self, engine: Engine) -> dict[str, str | None]:
        """Return the entry of run.json that says if the strategy is meant for other runs."""
        name = self.config.strategy_name
        ground = ground_of(registry.get("strategy", name).settings, name)
        return {"off_ground": off_ground(name, ground, engine)}

    def _say_facts(self, info: StreamInfo, engine: Engine, each: str = "") -> None:
        """Tell what is trained from where, on what, and how it is measured.

        Args:
            each: what the sizes are of, if the run has several.
        """
        for note in info.notes:
            self.listener.says(f"note: {note}")
        if (digest := engine.model.backbone.weights) is not None:
            sources = self.config.model.sources
            self.listener.says(f"backbone weights: {sources}, digest {digest[:12]}")
        self.listener.says(f"{each}{training_line(engine)}")
        for note in training_notes(engine):
            self.listener.says(note)
        if (sentence := self.run_info["off_ground"]) is not None:
            self.listener.says(f"note: {sentence}")
        if (measured_by := self.run_info["measured_by"]) != IN_WORDS["classifier"]:
            self.listener.says(f"note: accuracies are those of {measured_by}")

    def _stand_alone(self) -> None:
        """Delete the run that this one replaces: this one can go on by itself now."""
        if self.replaces:
            self.replaces = False
            discard_old(self.folder)

    def _write_end(self, records: Iterable[Timed], **more: Any) -> None:
        """Write that the run is finished, what it took, and more entries of run.json."""
        timed = list(records)
        self.run_info |= {
            "finished": True,
            **more,
            "seconds_train": sum(record.seconds_train for record in timed),
            "seconds_eval": sum(record.seconds_eval for record in timed),
            "peak_memory_bytes": peak_memory(),
        }
        self.folder.write_run_info(self.run_info)
