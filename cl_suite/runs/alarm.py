"""Says, stores and acts on training that diverged, or that made a network worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cl_suite.distributed.group import from_first
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError
from cl_suite.runs.config import OnCollapse, RunConfig
from cl_suite.runs.listener import Listener
from cl_suite.runs.refusals import has_diverged

GOES_ON = "--on-collapse stop ends the run here; --resume --on-collapse say goes on with it"


class Alarm:
    """What went wrong in a run's training, said once.

    Args:
        config: of the run.
        on_collapse: whether the run goes on.

    Attributes:
        trouble: what went wrong, as a sentence; "" for nothing.
    """

    def __init__(
        self, engine: Engine, config: RunConfig, on_collapse: OnCollapse, listener: Listener
    ) -> None:
        self.engine, self.on_collapse, self.listener = engine, on_collapse, listener
        self.start = config.start_from
        own, auto = engine.requirements.rate_auto, config.training.lr == "auto"
        self.rate = f"--{own}" if isinstance(own, str) else "--training.lr"
        self.remedy = f"{self.rate} (or pass auto)" if own is True and not auto else self.rate
        self.trouble = self.divergence = ""

    def entries(self) -> dict[str, Any]:
        """Return what `run.json` holds of it."""
        found: dict[str, Any] = {"diverged": self.divergence} if self.divergence else {}
        if (base := self.engine.base_training) is not None:
            found["base_training"] = base.state_dict() | {"note": self._in_words(base)}
        return found

    def looks_back(self, epochs: Sequence[EpochRecord]) -> None:
        """Look at what was trained before this start, by this run or by that of its base session.

        Args:
            epochs: records of the epochs that this run trained.
        """
        wrong = [record for record in epochs if not _is_finite(record)]
        if wrong:
            self._diverges(_of_epoch(wrong[0]))
        elif self.engine.state.session >= 0 and has_diverged(self.engine.model):
            self._diverges(_of_weights(self.engine.state.session))
        elif (base := self.engine.base_training) is not None:
            self.trouble = self._in_words(base)

    def says(self) -> None:
        """Tell the listeners."""
        if (base := self.engine.base_training) is not None:
            self.listener.base_trained(base, self._in_words(base))
        if self.trouble:
            self._says_trouble()

    def epoch(self, record: EpochRecord) -> None:
        """Look at an epoch's loss."""
        if not self.divergence and not _is_finite(record):
            self._diverges(_of_epoch(record))
            self._says_trouble()

    def session(self, session: int) -> None:
        """Look at the network after a session's training."""
        known = self.trouble
        if not self.divergence and has_diverged(self.engine.model):
            self._diverges(_of_weights(session))
        base = self.engine.base_training if session == 0 else None
        if base is not None:
            self.listener.base_trained(base, self._in_words(base))
            self.trouble = self.trouble or self._in_words(base)
        if self.trouble != known:
            self._says_trouble()

    def acts(self) -> None:
        """End the run if something went wrong and the user wants that.

        Raises:
            UserError: what went wrong.
        """
        if self.on_collapse == "stop" and self.trouble:
            from_first(self._stops)  # by now it has written the checkpoint

    def _stops(self) -> None:
        raise UserError(f"{self.trouble}; {GOES_ON}")

    def _in_words(self, base: BaseTraining) -> str:
        # with --start-from a strategy may have epochs of its own
        is_own = self.engine.base is not None and self.engine.base.watch.record is not None
        return in_words(base, self.remedy, None if is_own else self.start)

    def _says_trouble(self) -> None:
        if self.on_collapse != "stop":  # then the error says it
            self.listener.says(f"note: {self.trouble}")

    def _diverges(self, what: str) -> None:
        self.divergence = what
        self.trouble = f"the {what}: training has diverged; lower {self.rate}"


def in_words(base: BaseTraining, rate: str, start: str | None = None) -> str:
    """Return what a base session's training did wrong, and the remedy; "" if it is fine.

    Args:
        rate: the option to lower.
        start: folder of the run that trained it, None for this one.

    Example:
        >>> found = BaseTraining("worse", before=0.7, after=0.4, images=200)
        >>> in_words(found, "--training.lr")
        "the base session's training made the network worse: class means recognise 40.0 % of 200 \
training images after it, and 70.0 % before; lower --training.lr or --training.base_epochs"
    """
    if base.verdict == "fine":
        return ""
    training = "the base session's training" + (f" in '{start}'" if start else "")
    remedy = f"lower {rate} or --training.base_epochs"
    if base.verdict == "diverged" or base.after is None:
        return f"{training} has diverged: its loss or its features are not finite; {remedy}"
    what = "made the network worse"
    if base.verdict == "collapsed":
        what = "has collapsed the features, so that all images look alike"
    before = ", no more than by chance"
    if base.before is not None:
        before = f", and {100 * base.before:.1f} % before"
    return (
        f"{training} {what}: class means recognise {100 * base.after:.1f} % of {base.images:,} "
        f"training images after it{before}; {remedy}"
    )


def _of_epoch(record: EpochRecord) -> str:
    return f"loss is {record.loss} in session {record.session}, epoch {record.epoch + 1}"


def _of_weights(session: int) -> str:
    return f"weights are not finite after session {session}"


def _is_finite(record: EpochRecord) -> bool:
    return record.loss is None or math.isfinite(record.loss)
