"""Base class for rehearsal: later sessions train again on samples of earlier ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cl_suite.avalanche.loader import batches, joined_by, serves
from cl_suite.avalanche.memory import Memory
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.methods.replay.budget import check_budget, parse_budget
from cl_suite.methods.replay.buffer import QuotaBuffer, ReservoirBuffer
from cl_suite.methods.replay.selection import Selection
from cl_suite.models.classifier import Classifier
from cl_suite.plugin import (
    StrategyPlugin,
    Template,
    Within,
    requirements_of,
    session_classes,
    session_features,
)

Replay = Literal["batch", "union"]
Filling = Literal["class_balanced", "reservoir"]


@dataclass(kw_only=True, eq=False)
class RehearsalPlugin(StrategyPlugin):
    """Train on a session's data together with samples kept of earlier sessions.

    With `replay: batch` each batch of the session's data is joined by samples drawn from the
    memory; both go through the network in one pass, and the loss is the mean over both. A pass goes
    through the session's data once. With `replay: union` all kept samples are appended to the
    session's data and shuffled with it. In both forms, `template.adapted_dataset` is the union.

    A class-balanced memory is filled at the end of a session; if the selection needs features,
    they come from the network at that time. A reservoir is offered each sample of the stream once,
    in the order of the session's first epoch, so a batch is joined by earlier samples of its own
    session too. The samples that no epoch brought are offered at the end of the session.

    Args:
        buffer: size limit in samples (500), bytes (2MB, 300kB), or as a share of the training
            samples seen so far (1%); a share keeps at least one sample of each class, so it can be
            exceeded. A reservoir needs a number of samples.
        selection: how samples of a class are chosen: random, closest to its mean, or herding; a
            reservoir chooses at random.
        fixed_classes: share the buffer among this many classes from the first session on; null to
            share among the classes seen so far.
        replay: batch (kept samples join each batch) or union (they join the session's data).
        replay_batch: for replay batch, number of kept samples that join each batch (all, if fewer
            are kept); null: training.batch_size.
        memory: class_balanced (an equal quota for each class) or reservoir (a uniform sample of
            the stream).

    Class attributes:
        needs_teacher: whether a copy of the network is made at the end of each session.
    """

    buffer: Annotated[int, Within(1)] | str = "1%"
    selection: Selection = "random"
    fixed_classes: Annotated[int, Within(1)] | None = None
    replay: Replay = "batch"
    replay_batch: Annotated[int, Within(1)] | None = None
    memory: Filling = "class_balanced"
    buffer_: QuotaBuffer | ReservoirBuffer = field(init=False, repr=False)
    # of the session under way: row in its data of each kept sample, and rows that were offered
    places_: list[int] = field(default_factory=list, init=False, repr=False)
    offered_: Tensor | None = field(default=None, init=False, repr=False)
    classes_: list[int] = field(default_factory=list, init=False)  # of finished sessions
    teacher_: dict[str, Tensor] = field(default_factory=dict, init=False)

    needs_teacher: ClassVar[bool] = False
    # made from `teacher_` when needed
    _teacher: nn.Module | None = field(default=None, init=False, repr=False)
    _batch_size: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_budget(self.buffer)
        self.buffer_ = (
            QuotaBuffer(self.buffer, self.selection, self.fixed_classes)
            if self.memory == "class_balanced"
            else ReservoirBuffer(self.buffer)
        )

    def check(self) -> None:
        super().check()
        if self.replay_batch is not None and self.replay == "union":
            raise UserError(
                f"{option('strategy.replay_batch')} counts the samples that join a batch, which "
                f"{option('strategy.replay', 'batch')} does; pass that, or leave it out"
            )
        if self.memory == "reservoir" and (self.selection != "random" or self.fixed_classes):
            raise UserError(
                "a reservoir chooses at random among all samples of the stream; leave out "
                f"{option('strategy.selection')} and {option('strategy.fixed_classes')}, or pass "
                f"{option('strategy.memory', 'class_balanced')}"
            )

    @property
    def old_classes(self) -> list[int]:
        """Class ids of the sessions before the current one, in order of arrival."""
        return self.classes_

    @property
    def runs_network(self) -> bool:
        return self.selection != "random"

    def is_old(self, labels: Tensor) -> Tensor:
        """Return which of the class ids `(batch,)` are from earlier sessions."""
        return torch.isin(labels, labels.new_tensor(self.classes_))

    def kept_data(self) -> tuple[int, int]:
        return self.buffer_.num_samples, self.buffer_.num_bytes

    def check_stream(self, info: StreamInfo, session_sizes: Any) -> None:
        if self.memory == "class_balanced":
            check_budget(self.buffer, info.session_classes, session_sizes, self.fixed_classes)

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        from cl_suite.avalanche import api

        data, kept = template.experience.dataset, self.buffer_
        if isinstance(kept, QuotaBuffer):
            kept.check(data)  # refuse a budget that is too small before training
        kept.bind(data)
        num = len(template.adapted_dataset)
        if kept.num_samples:
            exemplars = kept.exemplars.dataset().train()
            template.adapted_dataset = api.joined(template.adapted_dataset, exemplars)
        self.places_ = list(range(num, num + kept.num_samples))
        self.offered_ = torch.zeros(num, dtype=torch.bool)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if self.replay == "union" or not (self.places_ or self.memory == "reservoir"):
            return
        assert self.offered_ is not None, "made when the data were adapted"
        self._batch_size = template.train_mb_size
        memory = Memory(len(self.offered_), self._joining)
        loader, data = template.dataloader, template.adapted_dataset
        # the engine's loader may hold more than asked, for a wrapper
        if serves(loader, data, layout := requirements_of(self).batch):
            template.dataloader = joined_by(loader, memory)
        else:
            template.dataloader = batches(
                data,
                template.train_mb_size,
                shuffle=True,
                num_workers=getattr(loader, "num_workers", 0),
                layout=layout,
                memory=memory,
            )

    def _joining(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """Return the kept rows that join each batch of a pass, and offer it to a reservoir."""
        num, found = self.replay_batch or self._batch_size, []
        for rows in batches:
            slots = torch.randperm(len(self.places_))[:num]
            found.append(torch.tensor(self.places_, dtype=torch.long)[slots])
            self._offer(rows)
        return found

    def _offer(self, rows: Tensor) -> None:
        """Offer rows of the session's data to the reservoir, if it is one, unless they were."""
        if isinstance(self.buffer_, ReservoirBuffer):
            assert self.offered_ is not None, "made when the data were adapted"
            new = rows[~self.offered_[rows]]
            self.buffer_.place(self.places_, new.tolist())
            self.offered_[new] = True

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        if isinstance(self.buffer_, ReservoirBuffer):
            assert self.offered_ is not None, "made when the data were adapted"
            self._offer(torch.randperm(len(self.offered_)))
            first = len(self.offered_)
            self.buffer_.take(template.adapted_dataset, self.places_, first)
        else:
            features = None if self.selection == "random" else session_features(template)
            self.buffer_.update(template.experience.dataset, features)
        self.places_, self.offered_ = [], None
        new = [c for c in session_classes(template) if c not in self.classes_]
        self.classes_ = [*self.classes_, *new]
        if self.needs_teacher:
            self._teacher = frozen_copy(template.model)
            self.teacher_ = kept_state(self._teacher)

    def teacher(self, template: Template) -> nn.Module | None:
        """Return the network as it was after the last session, in eval mode and without gradients.

        None in the first session.
        """
        if self._teacher is None and self.teacher_:
            # after a restore: built from the network, which may have more classes by now
            self._teacher = restored_copy(template.model, self.teacher_)
        return self._teacher

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._teacher = None


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares no tensors, in eval mode and without gradients."""
    twin = copy.deepcopy(model).eval()
    return twin.requires_grad_(False)


def kept_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors from which `restored_copy` makes the network again."""
    # published tensors can be downloaded again
    return model.trained_state() if isinstance(model, Classifier) else dict(model.state_dict())


def restored_copy(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a frozen copy of a network with the tensors that `kept_state` returned earlier."""
    twin = frozen_copy(model)
    if isinstance(twin, Classifier):
        twin.load_trained_state(state)
    else:
        twin.load_state_dict(state)
    return twin.requires_grad_(False)
