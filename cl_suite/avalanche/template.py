"""Avalanche's template as a type: the attributes that a plugin's callbacks may read and change.

The library has no types, and importing it takes seconds; this Protocol avoids both problems.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cl_suite.avalanche.loader import BatchLoader


class Clock(Protocol):
    """Avalanche's counters of training.

    Attributes:
        train_exp_counter: finished sessions.
        train_exp_epochs: finished epochs of the current session.
        train_exp_iterations: finished steps of the current session.
        train_iterations: steps since the first session began.
    """

    train_exp_counter: int
    train_exp_epochs: int
    train_exp_iterations: int
    train_iterations: int


class Experience(Protocol):
    """A session as Avalanche passes it to plugins.

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
        model: the network: the suite's `Classifier`, or any other in a user's own program.
        optimizer: the optimizer that updates it.
        experience: the current session.
        adapted_dataset: its data as plugins have changed it.
        dataloader: batches of it, in the layout of `requirements.batch`.
        mbatch: the current batch, `[x, y, ...]`.
        mb_x, mb_y: its inputs `(batch, ...)` and class ids `(batch,)`.
        mb_output: the network's output for it, `(batch, classes)`.
        loss: loss of the batch; terms may be added before the backward pass.
        train_epochs: number of epochs of the session.
        train_mb_size, eval_mb_size: samples a batch.
        clock: counters of training.
        device: the network's device.
    """

    model: Any  # any network; a plugin narrows it with isinstance
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


def needs_task_labels(model: nn.Module) -> bool:
    """Return whether a network takes task labels too, like Avalanche's `MTSimpleMLP`."""
    # by name: importing the library takes seconds
    return any(cls.__name__ == "MultiTaskModule" for cls in type(model).__mro__)
