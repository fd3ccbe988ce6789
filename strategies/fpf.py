"""FPF: after a session, fine-tune the few parameters that forget (Zhao et al., ICML 2023).

"Does Continual Learning Equally Forget All Parameters?", arXiv 2304.04158. A network's tensors do
not move alike: at the change of sessions a few jump, mostly those of BatchNorm and of the
classifier. So whatever method has trained, these few are then fine-tuned on the samples kept, for
some hundred steps, and everything else stays as it is:

    Theta* <- Theta* - lr grad L,   L = CE( f(x), y ),  (x, y) kept samples, classes drawn evenly

The host is any strategy. Samples come from the host's own buffer, and where it has none from a
reservoir that is kept for this alone.

Differences from the paper (its code is not public):
    - fine-tuning comes after every session but the first, as each is evaluated; the paper's comes
      once, after the stream. After a single session there is nothing to balance.
    - `groups: sensitive` ranks tensors by the score of `cl_suite.models.dynamics`, measured on the
      first two sessions; the paper's automatic score could not be confirmed. Until it is
      known, nothing is tuned.
    - BatchNorm layers that are tuned follow the statistics of the kept samples too, and all others
      keep theirs; this is our reading.
    - number of steps, batch and rate are reconstructed (300, 32, the host's rate, by a cosine).
    - distillation (FPF-KD) adds the squared distance to the logits that a host has kept with its
      samples, as `der` does; other hosts keep none, and `kfpf` keeps its own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError
from cl_suite.methods.host import WrappingPlugin
from cl_suite.methods.partial_tuning import (
    Batch,
    Groups,
    balanced_rows,
    check_groups,
    named_group,
    tune,
)
from cl_suite.methods.replay.buffer import ReservoirBuffer, check_budget, parse_budget
from cl_suite.methods.replay.exemplars import Exemplars
from cl_suite.methods.replay.logits import LOGITS
from cl_suite.models.dynamics import Dynamics, most_sensitive, sensitivities
from cl_suite.plugin import Strategy


class FPFPlugin(WrappingPlugin):
    """Fine-tune the parameters that forget, at the end of each session of a host strategy.

    Args:
        host: name of the strategy that trains, or a plugin in a program.
        host_params: its parameters, where they are others than in its YAML file.
        groups: what is fine-tuned: bn+fc, bn+fc+conv1, fc, all, or sensitive (the tensors that
            move most where sessions change, as many as `budget` allows).
        budget: share of the network's numbers that are tuned where groups is sensitive.
        iterations: steps.
        batch: samples a step.
        lr: learning rate at the start; null: that of the session's training.
        momentum: of the steps' own SGD.
        distillation: weight of the distance to the logits that the host has kept; 0: none.
        buffer: samples kept where the host keeps none, as in `er`.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "budget": (0.0, 1.0),
        "iterations": (0, math.inf),
        "batch": (1, math.inf),
        "momentum": (0.0, 1.0),
        "distillation": (0.0, math.inf),
    }

    def __init__(
        self,
        *,
        host: Any = "er",
        host_params: dict[str, Any] | None = None,
        groups: Groups = "bn+fc",
        budget: float = 0.01,
        iterations: int = 300,
        batch: int = 32,
        lr: float | None = None,
        momentum: float = 0.0,
        distillation: float = 0.0,
        buffer: int | str = 500,
    ) -> None:
        super().__init__(host, host_params)
        self.groups = groups
        self.budget = budget
        self.iterations = iterations
        self.batch = batch
        self.lr = lr
        self.momentum = momentum
        self.distillation = distillation
        self.buffer = buffer
        self.buffer_: ReservoirBuffer | None = None  # where the host has none
        self.sessions_ = 0
        self.records_: list[dict[str, Any]] = []  # of the first two sessions
        self.positions_: dict[str, Tensor] = {}
        self.chosen_: list[str] = []
        self.tuned_samples_ = 0  # what fine-tuning has read so far

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        super().check_stream(info, session_sizes)
        check_groups(self.groups)
        if not hasattr(self.hosted, "num_logits_"):
            self._check_logits(None)
        if not keeps_samples(self.hosted):
            check_budget(self.buffer, info.session_classes, session_sizes)

    def kept_data(self) -> tuple[int, int]:
        num, size = super().kept_data()
        own = self.buffer_
        return (num, size) if own is None else (num + own.num_samples, size + own.num_bytes)

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        if self.buffer_ is not None:
            self.buffer_.bind(strategy.experience.dataset)
        if self._measures:
            self.positions_ = Dynamics(strategy.model).before

    def after_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        self._hand_on("after_training_epoch", strategy, **kwargs)
        if self._measures:
            dynamics = Dynamics(strategy.model)
            dynamics.before, dynamics.records = self.positions_, self.records_
            dynamics.epoch(self.sessions_, strategy.clock.train_exp_epochs)
            self.records_, self.positions_ = dynamics.records, dynamics.before

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        self._hand_on("after_training_exp", strategy, **kwargs)
        if host_samples(self.hosted) is None:
            self._fill(strategy)
        self.sessions_ += 1
        if self.groups == "sensitive" and self.sessions_ == 2:
            self._choose()
        names = self._names(strategy)
        if self.sessions_ > 1 and names:
            lr = self.lr
            if lr is None:
                group = strategy.optimizer.param_groups[0]
                lr = group.get("initial_lr", group["lr"])
            tune(
                strategy.model,
                names,
                lambda: self._draw(strategy),
                iterations=self.iterations,
                lr=lr,
                momentum=self.momentum,
                distillation=self.distillation,
            )

    @property
    def _measures(self) -> bool:
        return self.groups == "sensitive" and self.sessions_ < 2

    def _names(self, strategy: Strategy) -> set[str]:
        if self.groups == "sensitive":
            return set(self.chosen_)
        # anew each time: the head has grown
        return named_group(strategy.model, self.groups)

    def _choose(self) -> None:
        try:
            found = sensitivities(self.records_)
        except ValueError:
            warnings.warn(
                "fpf: sessions of one epoch do not tell which tensors are sensitive, so nothing is "
                "tuned; pass --training.incremental_epochs 2, or --strategy.groups bn+fc",
                stacklevel=2,
            )
        else:
            self.chosen_ = most_sensitive(found, self.budget)
        self.records_, self.positions_ = [], {}

    def _fill(self, strategy: Strategy) -> None:
        if self.buffer_ is None:
            self.buffer_ = ReservoirBuffer(self.buffer)
        data = strategy.experience.dataset
        self.buffer_.insert(data, torch.randperm(len(data)))

    def _draw(self, strategy: Strategy) -> Batch:
        kept = host_samples(self.hosted)
        if kept is None:
            assert self.buffer_ is not None, "filled when the session ended"
            kept = self.buffer_.exemplars
        self.tuned_samples_ += self.batch
        logits: Tensor | None = None
        if isinstance(kept, Exemplars):
            inputs, labels, extras = kept.batch(balanced_rows(kept.targets, self.batch))
            logits = extras.get(LOGITS)
        else:
            rows = balanced_rows([int(t) for t in kept.targets], self.batch)
            items = [kept[row] for row in rows]
            inputs = torch.stack([item[0] for item in items])
            labels = torch.tensor([int(item[1]) for item in items])
        self._check_logits(logits)
        return (
            inputs.to(strategy.device),
            labels.to(strategy.device),
            None if logits is None else logits.to(strategy.device),
        )

    def _check_logits(self, logits: Tensor | None) -> None:
        if self.distillation and logits is None:
            raise UserError(
                f"--strategy.distillation needs logits that the host keeps, and "
                f"{self.host_name} keeps none; take --strategy.host der, or the strategy kfpf"
            )

    def before_training(self, strategy: Strategy, **kwargs: Any) -> None:
        check_groups(self.groups)
        parse_budget(self.buffer)
        super().before_training(strategy, **kwargs)

    def session_note(self, session: int) -> str:
        notes = [super().session_note(session)]
        if self.groups == "sensitive" and self.chosen_:
            more = ", ..." if len(self.chosen_) > 3 else ""
            notes.append(
                f"fine-tunes the {len(self.chosen_)} most sensitive tensors: "
                f"{', '.join(self.chosen_[:3])}{more}"
            )
        return "; ".join(filter(None, notes))

    def state_dict(self) -> dict[str, Any]:
        kept = None if self.buffer_ is None else self.buffer_.state_dict()
        return {**super().state_dict(), "buffer_": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "buffer_"})
        self.buffer_ = None
        if state["buffer_"] is not None:
            self.buffer_ = ReservoirBuffer(self.buffer)
            self.buffer_.load_state_dict(state["buffer_"])


def keeps_samples(host: Any) -> bool:
    """Return whether a host has a buffer of its own, filled or not."""
    return hasattr(host, "buffer_") or hasattr(host, "storage_policy")


def host_samples(host: Any) -> Any:
    """Return the samples that a host keeps: `Exemplars`, an Avalanche data set, or None."""
    own = getattr(host, "buffer_", None)
    if own is not None:
        return own.exemplars if own.num_samples else None
    policy = getattr(host, "storage_policy", None)  # of Avalanche's ReplayPlugin
    return policy.buffer.train() if policy is not None and len(policy.buffer) else None
