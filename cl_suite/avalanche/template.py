"""Avalanche's template as a type: what a plugin's callbacks may read and change.

The library has no types, and importing it takes seconds; this Protocol needs neither.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from cl_suite.avalanche.loader import BatchLoader


class Clock(Protocol):
    """Avalanche's counters of training.

    Attributes:
        train_exp_counter: sessions that are finished.
        train_exp_epochs: epochs of the session under way that are finished.
        train_exp_iterations: steps of the session under way that are finished.
        train_iterations: steps since the first session began.
    """

    train_exp_counter: int
    train_exp_epochs: int
    train_exp_iterations: int
    train_iterations: int


class Experience(Protocol):
    """A session as Avalanche hands it over.

    Attributes:
        dataset: its data, an Avalanche data set.
        current_experience: its number.
        classes_in_this_experience: its class ids.
    """

    dataset: Any  # the library's own, which has no types
    current_experience: int
    classes_in_this_experience: Collection[int]


class Template(Protocol):
    """Avalanche's `SupervisedTemplate`, the first argument of every callback.

    Attributes:
        model: the network; the suite's `Classifier`, or any other in a program of one's own.
        optimizer: what steps it.
        experience: the session under way.
        adapted_dataset: its data as plugins have changed it.
        dataloader: batches of it, as `requirements.batch` says.
        mbatch: the batch under way, `[x, y, ...]`.
        mb_x, mb_y: its inputs `(batch, ...)` and class ids `(batch,)`.
        mb_output: what the network makes of it, `(batch, classes)`.
        loss: of the batch; terms may be added before the backward pass.
        train_epochs: epochs of the session.
        train_mb_size, eval_mb_size: samples of a batch.
        clock: counters.
        device: where the network lies.
    """

    model: Any  # a plugin narrows it by isinstance, as any network may come
    optimizer: torch.optim.Optimizer
    experience: Experience
    adapted_dataset: Any  # the library's own, which has no types
    dataloader: BatchLoader
    mbatch: Sequence[Tensor]
    mb_output: Tensor
    loss: Tensor
    train_epochs: int
    train_mb_size: int
    eval_mb_size: int
    clock: Clock
    device: torch.device

    @property
    def mb_x(self) -> Tensor: ...

    @property
    def mb_y(self) -> Tensor: ...

    def stop_training(self) -> None:
        """End the session's training before its next batch."""
        ...
