"""Base class for rehearsal: later sessions train again on exemplars of earlier sessions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.methods.replay.budget import check_budget, parse_budget
from cl_suite.methods.replay.buffer import QuotaBuffer
from cl_suite.methods.replay.selection import Selection
from cl_suite.models.classifier import Classifier
from cl_suite.plugin import StrategyPlugin, Template, Within, session_classes, session_features


@dataclass(kw_only=True, eq=False)
class RehearsalPlugin(StrategyPlugin):
    """Train on a session's data together with class-balanced exemplars of earlier sessions.

    The exemplars are appended to the session's data and shuffled with it. At the end of a session
    the buffer keeps some of its samples. If the selection needs features, they come from the
    network at that time.

    Args:
        buffer: size limit in samples (500), bytes (2MB, 300kB), or as a share of the training
            samples seen so far (1%); a share keeps at least one sample of each class, so it can be
            exceeded.
        selection: how samples of a class are chosen: random, closest to its mean, or herding.
        fixed_classes: share the buffer among this many classes from the first session on; null to
            share among the classes seen so far.

    Class attributes:
        needs_teacher: whether a copy of the network is made at the end of each session.
    """

    buffer: Annotated[int, Within(1)] | str = "1%"
    selection: Selection = "random"
    fixed_classes: Annotated[int, Within(1)] | None = None
    buffer_: QuotaBuffer = field(init=False, repr=False)
    classes_: list[int] = field(default_factory=list, init=False)  # of finished sessions
    teacher_: dict[str, Tensor] = field(default_factory=dict, init=False)

    needs_teacher: ClassVar[bool] = False
    # made from `teacher_` when needed
    _teacher: nn.Module | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_budget(self.buffer)
        self.buffer_ = QuotaBuffer(self.buffer, self.selection, self.fixed_classes)

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
        check_budget(self.buffer, info.session_classes, session_sizes, self.fixed_classes)

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        from cl_suite.avalanche import api

        data, kept = template.experience.dataset, self.buffer_
        kept.check(data)  # refuse a budget that is too small before training
        kept.bind(data)
        if kept.num_samples:
            exemplars = kept.exemplars.dataset().train()
            template.adapted_dataset = api.joined(template.adapted_dataset, exemplars)

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        features = None if self.selection == "random" else session_features(template)
        self.buffer_.update(template.experience.dataset, features)
        new = [c for c in session_classes(template) if c not in self.classes_]
        self.classes_ = [*self.classes_, *new]
        if self.needs_teacher:
            self._teacher = frozen_copy(template.model)
            self.teacher_ = _state(self._teacher)

    def teacher(self, template: Template) -> nn.Module | None:
        """Return the network as it was after the last session, in eval mode and without gradients.

        None in the first session.
        """
        if self._teacher is None and self.teacher_:
            # after a restore: built from the network, which may have more classes by now
            self._teacher = frozen_copy(template.model)
            if isinstance(self._teacher, Classifier):
                self._teacher.load_trained_state(self.teacher_)
            else:
                self._teacher.load_state_dict(self.teacher_)
            self._teacher.requires_grad_(False)
        return self._teacher

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._teacher = None


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares no tensors, in eval mode and without gradients."""
    twin = copy.deepcopy(model).eval()
    return twin.requires_grad_(False)


def _state(model: nn.Module) -> dict[str, Tensor]:
    # published tensors can be downloaded again
    return model.trained_state() if isinstance(model, Classifier) else dict(model.state_dict())
