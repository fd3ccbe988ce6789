"""Progress of a session's path search, saved so a stopped run can resume."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from cl_suite.methods.modular.path_search import Outcome, Path

State = dict[str, Tensor]


@dataclass
class Ledger:
    """Outcomes of paths, and the new modules that are still needed.

    Attributes:
        outcomes: (path, accuracy, loss) in order.
        epoch: epochs of the current path.
        trial: best (epoch, accuracy, loss) of the current path; None before its first
            validation.
        trial_state: its new modules at that epoch.
        best: new modules of the best path.
        standalone: modules of the path of only new modules, which is the first.
    """

    outcomes: list[tuple[Path, float, float]] = field(default_factory=list)
    epoch: int = 0
    trial: tuple[int, float, float] | None = None
    trial_state: State = field(default_factory=dict)
    best: State = field(default_factory=dict)
    standalone: State = field(default_factory=dict)

    def known(self) -> dict[Path, Outcome]:
        """Return the outcome of each path tried."""
        return {path: Outcome(path, *worth) for path, *worth in self.outcomes}

    def best_outcome(self) -> Outcome:
        """Return the outcome of the best path; the first among equals."""
        return max(self.known().values(), key=lambda outcome: outcome.rank)

    def note(self, outcome: Outcome, state: State) -> None:
        """Record the outcome of a path and its new modules."""
        if not self.outcomes:
            self.standalone = state
        if not self.outcomes or outcome.rank > self.best_outcome().rank:
            self.best = state
        self.outcomes.append((outcome.path, outcome.accuracy, outcome.loss))

    def look(self, accuracy: float, loss: float, bench: nn.Module) -> None:
        """Keep the new modules of the current path if its loss is the lowest so far."""
        if self.trial is None or loss < self.trial[2]:
            self.trial = self.epoch, accuracy, loss
            self.trial_state = {k: v.detach().clone() for k, v in bench.state_dict().items()}

    @property
    def idle(self) -> int:
        """Epochs since the best epoch of the current path."""
        return self.epoch - (self.trial[0] if self.trial else 0)

    def close(self, path: Path) -> Outcome:
        """Record the current path at its best epoch and return the outcome."""
        assert self.trial is not None, "a path is looked at before it is closed"
        outcome = Outcome(path, *self.trial[1:])
        self.note(outcome, self.trial_state)
        self.epoch, self.trial, self.trial_state = 0, None, {}
        return outcome
