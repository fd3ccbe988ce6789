"""An option of head rules by cosine: a margin for each new class, as in CALA."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.class_margin import (
    Scored,
    chosen_margins,
    nearest_cosines,
    restored_margins,
)
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, fake_tasks
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.plugin import Within

FAKE_STREAMS = 6
APART = 7919  # from the seeds of streams on which parameters were chosen


@dataclass(kw_only=True, eq=False)
class ClassMargin(HeadPlugin):
    """A rule by cosine that can favour each new class by a margin of its own.

    The margins follow from a small network, which is kept; see
    `cl_suite.methods.episodes.class_margin`.

    Args:
        class_margin: favour each new class by a margin that depends on the base classes near it,
            learned on fake streams; no margin if the base session is too small for these.
        margin_seed: seed of these streams and of the network.
    """

    class_margin: bool = False
    margin_seed: Annotated[int, Within(0)] = 0
    margin_network_: dict[str, Tensor] = field(default_factory=dict, init=False)
    margin_choice_: dict[str, Any] = field(default_factory=dict, init=False)

    def session_note(self, session: int) -> str:
        margin = f"class margins: {choice_note(self.margin_choice_)}" if self.margin_choice_ else ""
        shown = [margin if session == 0 else "", super().session_note(session)]
        return "; ".join(filter(None, shown))

    def fit_frame(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        """Fit what these base features fix for good, with the parameters in use.

        Args:
            features, labels: `(n, dim)` and `(n,)`.
        """

    def learn_margins(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        """Learn in the base session what margins new classes will have.

        Args:
            head: with what `set_up` has fitted.
            features, labels: the base session's, `(n, dim)` and `(n,)`.
        """
        if not self.class_margin:
            return
        generator = torch.Generator().manual_seed(self.margin_seed + APART)
        tasks = fake_tasks(labels, generator=generator, num_tasks=FAKE_STREAMS)
        if not tasks:
            return
        network, choice = chosen_margins(
            tasks,
            labels,
            lambda task: self._scored(head, features, labels, task),
            seed=self.margin_seed,
        )
        self.margin_network_ = {name: t.clone() for name, t in network.state_dict().items()}
        self.margin_choice_ = choice.state_dict()

    def set_margins(self, head: ClassHead, class_ids: list[int]) -> None:
        """Give new classes, whose rows are written, their margins."""
        if not self.margin_network_ or not class_ids:
            return
        assert isinstance(head, OffsetCosineHead)
        network = restored_margins({n: t.cpu() for n, t in self.margin_network_.items()})
        new, base = head.rows(class_ids).cpu(), head.rows(self.base_classes_).cpu()
        head.set_offset(class_ids, self.offset + network.margins(new, base))

    def _scored(self, head: ClassHead, features: Tensor, labels: Tensor, task: FakeTask) -> Scored:
        """Return how the rule classifies a fake stream."""
        assert isinstance(head, OffsetCosineHead)
        columns, own = task.columns(labels), copy.deepcopy(head)
        own.keep_first(0)
        self.fit_frame(own, features[task.train], labels[task.train])
        seen = self.averaged(own, features)
        base = class_stats(seen[task.train], columns[task.train])
        new = class_stats(seen[task.shots], columns[task.shots])
        assert not self.base_classes_, "margins are learned in the base session"
        with torch.random.fork_rng(devices=[]):  # a row's first values are drawn
            own.set_rows(base.classes, self.class_vectors(base, own))
            try:
                self.base_classes_ = base.classes
                own.set_rows(new.classes, self.class_vectors(new, own))
            finally:
                self.base_classes_ = []
        own.set_offset(new.classes, self.offset)
        rows = own.weight.detach()[own.index(range(len(task.classes)))]
        num_base = len(base.classes)
        tested = own.transformed(features[task.test].to(rows))
        return Scored(
            scores=(own.scores(tested) / own.temperature).detach().float().cpu(),
            nearest=nearest_cosines(rows[num_base:], rows[:num_base]).float().cpu(),
            truth=columns[task.test].cpu(),
        )
