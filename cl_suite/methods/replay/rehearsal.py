"""What rehearsal methods have in common: a few samples of each session come again in later ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cl_suite.data.stream import StreamInfo
from cl_suite.methods.replay.budget import check_budget, parse_budget
from cl_suite.methods.replay.buffer import QuotaBuffer
from cl_suite.methods.replay.selection import Selection, check_selection
from cl_suite.models.classifier import Classifier
from cl_suite.plugin import Strategy, StrategyPlugin, session_features


class RehearsalPlugin(StrategyPlugin):
    """Train on a session's data and a class-balanced sample of the earlier sessions' together.

    The samples kept are put behind the session's data and shuffled with it. At the end of a session
    the buffer takes some of its samples; where their features say which, with the network as it is
    then.

    Args:
        buffer: what may be kept: samples (500), bytes (2MB, 300kB), or a share of the training
            samples seen so far (1%).
        selection: which samples of a class: random, closest to its mean, or herding.
        fixed_classes: share the buffer among this many classes from the first session on; null:
            among those seen so far.

    Class attributes:
        needs_teacher: whether a copy of the network is made at the end of each session.
    """

    needs_teacher: ClassVar[bool] = False
    _teacher: nn.Module | None = None  # made of `teacher_` where it is asked for

    def __init__(
        self,
        *,
        buffer: int | str = "1%",
        selection: Selection = "random",
        fixed_classes: int | None = None,
    ) -> None:
        self.buffer = buffer
        self.selection = selection
        self.fixed_classes = fixed_classes
        self.buffer_: QuotaBuffer | None = None
        self.classes_: list[int] = []  # of finished sessions
        self.teacher_: dict[str, Tensor] = {}

    @property
    def old_classes(self) -> list[int]:
        """Class ids of the sessions before the one under way, in order of arrival."""
        return self.classes_

    def is_old(self, labels: Tensor) -> Tensor:
        """Return which of the class ids `(batch,)` came in earlier sessions."""
        return torch.isin(labels, labels.new_tensor(self.classes_))

    def kept_data(self) -> tuple[int, int]:
        kept = self.buffer_
        return (0, 0) if kept is None else (kept.num_samples, kept.num_bytes)

    def check_stream(self, info: StreamInfo, session_sizes: Any) -> None:
        check_selection(self.selection, self.fixed_classes)
        check_budget(self.buffer, info.session_classes, session_sizes, self.fixed_classes)

    def before_training(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training(strategy, **kwargs)
        check_selection(self.selection, self.fixed_classes)
        parse_budget(self.buffer)

    def after_train_dataset_adaptation(self, strategy: Strategy, **kwargs: Any) -> None:
        data, kept = strategy.experience.dataset, self._made_buffer()
        kept.check(data)  # too small a budget is refused before the session is trained
        kept.bind(data)
        if kept.num_samples:
            exemplars = kept.exemplars.dataset().train()
            strategy.adapted_dataset = strategy.adapted_dataset.concat(exemplars)

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        features = None if self.selection == "random" else session_features(strategy)
        self._made_buffer().update(strategy.experience.dataset, features)
        session = sorted(int(c) for c in strategy.experience.classes_in_this_experience)
        self.classes_ = [*self.classes_, *(c for c in session if c not in self.classes_)]
        if self.needs_teacher:
            self._teacher = frozen_copy(strategy.model)
            self.teacher_ = _state(self._teacher)

    def teacher(self, strategy: Strategy) -> nn.Module | None:
        """Return the network as the last session left it, in eval mode and without gradients.

        None in the first session.
        """
        if self._teacher is None and self.teacher_:
            # after a restore: the structure is the network's, which may have more classes by now
            self._teacher = frozen_copy(strategy.model)
            if isinstance(self._teacher, Classifier):
                self._teacher.load_trained_state(self.teacher_)
            else:
                self._teacher.load_state_dict(self.teacher_)
            self._teacher.requires_grad_(False)
        return self._teacher

    def state_dict(self) -> dict[str, Any]:
        kept = None if self.buffer_ is None else self.buffer_.state_dict()
        return {**super().state_dict(), "buffer_": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "buffer_"})
        self._teacher = None
        if state["buffer_"] is None:
            self.buffer_ = None
        else:
            self._made_buffer().load_state_dict(state["buffer_"])

    def _made_buffer(self) -> QuotaBuffer:
        if self.buffer_ is None:
            self.buffer_ = QuotaBuffer(self.buffer, self.selection, self.fixed_classes)
        return self.buffer_


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares no tensor, in eval mode and without gradients."""
    twin = copy.deepcopy(model).eval()
    return twin.requires_grad_(False)


def _state(model: nn.Module) -> dict[str, Tensor]:
    # published tensors can be had again
    return model.trained_state() if isinstance(model, Classifier) else dict(model.state_dict())
