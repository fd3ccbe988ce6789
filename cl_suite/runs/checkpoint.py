"""A run's checkpoint: everything that a stopped run needs to go on as if it had not stopped."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.models.dynamics import Dynamics
from cl_suite.runs.checks import changed_data
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.journal import Journal
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.runs.same_settings import differences
from cl_suite.storage import checkpoint

EPOCHS = "epochs"  # no probe is called so


@dataclasses.dataclass(eq=False)
class Checkpoint:
    """The parts of a run that change while it runs, and the file that keeps them.

    Attributes:
        epochs: records of the epochs trained so far.
        log: figures of the sessions measured so far.
        probes: figures of additional probes, by name.
        dynamics: None if the run does not record it.
        chosen: what the run chose before it trained, see `rate_trials.recipe_of`.
    """

    folder: RunFolder
    config: RunConfig
    engine: Engine
    epochs: list[EpochRecord]
    log: MeasureLog
    probes: Mapping[str, MeasureLog]
    dynamics: Dynamics | None
    chosen: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    journal: Journal = dataclasses.field(init=False)
    noted: Counter[str] = dataclasses.field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder.journal_file)

    def save(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            UnsaveableError: if the strategy keeps an object that cannot be saved.
            UserError: if the disk is full.
        """
        tree = {
            "config": self.config.text,
            "fingerprint": self.engine.stream.info.fingerprint,
            "engine": self.engine.state_dict(),
            "passes": self.engine.passes.num,
            "journal": self._journal(),
            "dynamics": self.dynamics.records if self.dynamics is not None else [],
            **self.chosen,
        }
        checkpoint.save(self.folder.checkpoint_file, tree)

    def load(self) -> None:
        """Restore what `save` wrote.

        Raises:
            UserError: if the file is damaged, or of other settings, other data or another version.
        """
        tree = checkpoint.load(self.folder.checkpoint_file, self.config.device)
        try:
            self._take(tree)
        except UserError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"the checkpoint of run '{self.folder.path}' does not fit this run ({reason}); it "
                "comes from another version of the suite; start afresh with --overwrite"
            ) from error

    def _take(self, tree: dict[str, Any]) -> None:
        found = differences(tree["config"], self.config)
        if any(not each.is_place for each in found):
            raise UserError(
                f"the checkpoint of run '{self.folder.path}' belongs to other settings "
                f"({found[0]}); start afresh with --overwrite"
            )
        if tree["fingerprint"] != self.engine.stream.info.fingerprint:
            raise changed_data(self.folder)
        if "journal" in tree:
            self._take_entries(self.journal.load_state_dict(tree["journal"]))
            self.noted = self._counts()
        else:
            # of version 0.2 or earlier: every record is in the checkpoint
            self.epochs[:] = [EpochRecord(**record) for record in tree["epochs"]]
            self.log.load_state_dict(tree["measured"])
            for name, log in self.probes.items():
                log.load_state_dict(tree["probes"][name])
        self.engine.load_state_dict(tree["engine"])
        # version 0.6 and earlier did not count
        self.engine.passes.num = int(tree.get("passes", 0))
        if self.dynamics is not None:
            self.dynamics.restart(tree["dynamics"], tree["engine"]["model"])

    def _journal(self) -> dict[str, Any]:
        """Add to the journal what it lacks, and return its place."""
        for record in self.epochs[self.noted[EPOCHS] :]:
            self.journal.add({"epoch": dataclasses.asdict(record)})
        for name, log in self._logs().items():
            for entry in log.entries(self.noted[name]):
                self.journal.add({"measure": name, **entry})
        self.noted = self._counts()
        return self.journal.state_dict()

    def _take_entries(self, entries: Iterable[Any]) -> None:
        logs = self._logs()
        self.epochs.clear()
        for entry in entries:
            if "epoch" in entry:
                self.epochs.append(EpochRecord(**entry["epoch"]))
            else:
                logs[entry["measure"]].load_entries([entry])

    def _counts(self) -> Counter[str]:
        done = {name: len(log.records) for name, log in self._logs().items()}
        return Counter({EPOCHS: len(self.epochs), **done})

    def _logs(self) -> dict[str, MeasureLog]:
        """Return the logs by name; that of the run's main figures has none."""
        return {"": self.log, **self.probes}
