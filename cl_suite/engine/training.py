"""Settings of training: epochs, optimiser and schedule; the loop is in `engine` and `plugins`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from torch import nn

from cl_suite.engine.lars import Lars
from cl_suite.errors import UserError, option
from cl_suite.parameters import Above, Parameters, Within

# the upper ends are larger than any machine's memory or patience
Epochs = Annotated[int, Within(0), Within(high=10**9)]
Samples = Annotated[int, Within(1), Within(high=2**31 - 1)]


@dataclass(frozen=True)
class TrainingConfig(Parameters):
    """Settings of the training loop.

    Args:
        base_epochs: epochs of the base session.
        incremental_epochs: epochs of every later session (prototype methods need 0); null: as many
            as the base session.
        batch_size: samples per training step.
        eval_batch_size: samples per forward pass without training.
        optimizer: sgd, adamw, lion (Chen et al., 2023; needs a learning rate several times
            smaller than adamw's) or lars (You et al., 2017; scales the step of each tensor by the
            tensor's norm); each session gets a new one.
        lr: learning rate of the base session; auto: the run chooses it, or no training at all, on
            the base session's training images alone, for a strategy that tunes a pretrained
            backbone.
        incremental_lr: learning rate of later sessions; null: that of the base session.
        momentum: momentum of sgd and lars.
        nesterov: use Nesterov's form of momentum.
        weight_decay: weight decay of every parameter; of lars, see `exclude_vectors`.
        trust_coefficient: for lars; size of a step relative to its tensor's norm, at rate 1 or,
            with `trust_clip`, at any rate above the trust ratio.
        trust_clip: for lars; clip the trust ratio by the rate, which then only limits the steps.
        exclude_vectors: for lars; leave biases and normalisation parameters (of fewer than two
            dimensions) to plain SGD without weight decay.
        schedule: cosine to zero, step (times `gamma` at each of `milestones`), or constant; updated
            once per epoch.
        warmup_epochs: epochs in which the rate rises in even steps, before a cosine begins; they
            apply to every session, but to at most half of its epochs.
        milestones: epochs at which the step schedule acts, counting those of the warm-up.
        gamma: factor of the step schedule.
        base_batchnorm: whether the base session updates BatchNorm's statistics (train) or keeps
            those that the backbone came with (eval).
        incremental_batchnorm: whether later sessions update BatchNorm's statistics (train) or keep
            those of the base session (eval), which a handful of images would spoil.
        sync_batchnorm: with several processes (torchrun), whether BatchNorm normalises by the whole
            batch, as one process does, or each process by its own share of it (faster).
        num_workers: processes that load images that are not in memory.
        precision: float32, or bfloat16 for autocast in the forward pass.
    """

    _option_prefix = "training."

    base_epochs: Epochs = 50
    incremental_epochs: Epochs | None = 10
    batch_size: Samples = 128
    eval_batch_size: Samples = 128
    optimizer: Literal["sgd", "adamw", "lion", "lars"] = "sgd"
    lr: Annotated[float, Above(0)] | Literal["auto"] = 0.1
    incremental_lr: Annotated[float, Above(0)] | None = 0.01
    momentum: Annotated[float, Within(0, 1, open_end=True)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Within(0)] = 5e-4
    trust_coefficient: Annotated[float, Above(0)] = 0.001
    trust_clip: bool = True
    exclude_vectors: bool = True
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: Epochs = 0
    milestones: list[Epochs] = field(default_factory=list)
    gamma: Annotated[float, Above(0)] = 0.1
    base_batchnorm: Literal["eval", "train"] = "train"
    incremental_batchnorm: Literal["eval", "train"] = "eval"
    sync_batchnorm: bool = True
    num_workers: Annotated[int, Within(0), Within(high=1024)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"

    def epochs(self, session: int) -> int:
        """Return the epochs of a session."""
        if session == 0 or self.incremental_epochs is None:
            return self.base_epochs
        return self.incremental_epochs

    def updates_batchnorm(self, session: int) -> bool:
        """Return whether a session updates BatchNorm's statistics."""
        return (self.incremental_batchnorm if session else self.base_batchnorm) == "train"

    def learning_rate(self, session: int) -> float:
        """Return the learning rate that a session starts with.

        Raises:
            UserError: if it is still to be chosen.
        """
        if session and self.incremental_lr is not None:
            return self.incremental_lr
        if self.lr == "auto":
            raise UserError(
                f"{option('training.lr', 'auto')} is chosen by a run before it trains, and there "
                "is none here; pass a number"
            )
        return self.lr

    def factor(self, epoch: int, num_epochs: int) -> float:
        """Return the factor on the learning rate in epoch `epoch`, counted from 0.

        In a warm-up of `w` epochs, epoch `e` has `(e + 1) / (w + 1)`. A cosine covers the others.
        """
        warmup = min(self.warmup_epochs, num_epochs // 2)
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * (epoch - warmup) / (num_epochs - warmup))) / 2
        if self.schedule == "step":
            return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        return 1.0

    def make_optimizer(
        self, parameters: Iterable[nn.Parameter], session: int
    ) -> torch.optim.Optimizer:
        """Return a fresh optimiser for a session."""
        lr, weight_decay = self.learning_rate(session), self.weight_decay
        if self.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
        if self.optimizer == "lion":
            from timm.optim import Lion

            lion: torch.optim.Optimizer = Lion(parameters, lr=lr, weight_decay=weight_decay)
            return lion
        nesterov = self.nesterov and self.momentum > 0
        if self.optimizer == "lars":
            return Lars(
                parameters,
                lr=lr,
                momentum=self.momentum,
                nesterov=nesterov,
                weight_decay=weight_decay,
                trust_coefficient=self.trust_coefficient,
                trust_clip=self.trust_clip,
                exclude_vectors=self.exclude_vectors,
            )
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=self.momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )
