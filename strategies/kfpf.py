"""k-FPF: train without replay, and fine-tune what forgets a few times (Zhao et al., ICML 2023).

"Does Continual Learning Equally Forget All Parameters?", arXiv 2304.04158. Replay doubles the cost
of every step. Here a step is plain SGD on the new data, which only fills a reservoir. `k` times a
session training stops for a phase of FPF on the reservoir: a few steps on the few parameters that
forget (see `fpf`), after which all parameters train on.

    L = CE( f(x), y ) + lambda || f(x) - z ||^2 / units,   z = logits when the sample was kept

With lambda = 0 this is k-FPF-CE, above it k-FPF-KD.

Differences from the paper (its code is not public):
    - phases are spread over each session's steps, the last one at its end, since a stream does not
      tell how long it is; the paper spreads them over the whole stream.
    - the squared distance is averaged over the units that had been learned when a sample was kept;
      a head that grows has no logits for the others.
    - a sample enters the reservoir in the first epoch of its session alone, so that none is in it
      twice.
    - numbers of phases and of steps are reconstructed (about 5 to 15 phases, some 100 steps).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cl_suite.data.stream import StreamInfo
from cl_suite.methods.partial_tuning import (
    Batch,
    Groups,
    balanced_rows,
    check_groups,
    named_group,
    phase_steps,
    tune,
)
from cl_suite.methods.replay.buffer import ReservoirBuffer, check_budget, parse_budget
from cl_suite.methods.replay.exemplars import Extras
from cl_suite.methods.replay.logits import LOGITS, widen
from cl_suite.plugin import Strategy, StrategyPlugin, rows_of


class KFPFPlugin(StrategyPlugin):
    """Plain training that stops for phases of partial fine-tuning on a reservoir.

    Args:
        phases: in each session, the last one at its end; `k`.
        iterations: steps of a phase.
        batch: samples a step of a phase.
        groups: what a phase tunes: bn+fc, bn+fc+conv1, fc, or all.
        lr: learning rate at a phase's start; null: the session's own, at its beginning.
        momentum: of a phase's own SGD.
        distillation: weight of the distance to the logits kept, lambda.
        buffer: samples kept, as in `er`.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "phases": (0, math.inf),
        "iterations": (0, math.inf),
        "batch": (1, math.inf),
        "momentum": (0.0, 1.0),
        "distillation": (0.0, math.inf),
    }
    keeps_base_state = True  # the reservoir, which is filled step by step
    row_numbers = True

    def __init__(
        self,
        *,
        phases: int = 5,
        iterations: int = 100,
        batch: int = 32,
        groups: Groups = "bn+fc",
        lr: float | None = None,
        momentum: float = 0.0,
        distillation: float = 0.0,
        buffer: int | str = 500,
    ) -> None:
        self.phases = phases
        self.iterations = iterations
        self.batch = batch
        self.groups = groups
        self.lr = lr
        self.momentum = momentum
        self.distillation = distillation
        self.buffer = buffer
        self.buffer_: ReservoirBuffer | None = None
        self.num_logits_ = 0  # columns of the logits kept
        self.step_ = 0  # of the session under way
        self.tuned_samples_ = 0  # what phases have read so far

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        check_groups(self.groups)
        self._refuse_sensitive()
        check_budget(self.buffer, info.session_classes, session_sizes)

    def before_training(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training(strategy, **kwargs)
        check_groups(self.groups)
        self._refuse_sensitive()
        parse_budget(self.buffer)

    def kept_data(self) -> tuple[int, int]:
        kept = self.buffer_
        return (0, 0) if kept is None else (kept.num_samples, kept.num_bytes)

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self.step_ = 0
        if self.buffer_ is None:
            self.buffer_ = ReservoirBuffer(self.buffer)
        self.buffer_.bind(strategy.experience.dataset)

    def after_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        assert self.buffer_ is not None, "made before the session"
        self.step_ += 1
        if strategy.clock.train_exp_epochs == 0:
            extras = self._extras(strategy) if self.distillation else None
            self.buffer_.insert(strategy.adapted_dataset, rows_of(strategy, self), extras)
        total = len(strategy.dataloader) * strategy.train_epochs
        if self.step_ in phase_steps(total, self.phases) and self.buffer_.num_samples:
            self._phase(strategy)

    def _extras(self, strategy: Strategy) -> Extras:
        """Return the batch's logits, and give those kept as many columns: an output may grow."""
        assert self.buffer_ is not None, "made before the session"
        logits = strategy.mb_output.detach().float()
        if logits.shape[1] > self.num_logits_:
            widen(self.buffer_.exemplars, logits.shape[1])
        self.num_logits_ = logits.shape[1]
        return {LOGITS: logits}

    def _phase(self, strategy: Strategy) -> None:
        group = strategy.optimizer.param_groups[0]
        # not the scheduled one: that of the last phase would be next to nothing
        lr = group.get("initial_lr", group["lr"]) if self.lr is None else self.lr
        tune(
            strategy.model,
            # anew each time: the head grows
            named_group(strategy.model, self.groups),
            lambda: self._draw(strategy),
            iterations=self.iterations,
            lr=lr,
            momentum=self.momentum,
            distillation=self.distillation,
        )

    def _draw(self, strategy: Strategy) -> Batch:
        assert self.buffer_ is not None, "made before the session"
        kept = self.buffer_.exemplars
        self.tuned_samples_ += self.batch
        inputs, labels, extras = kept.batch(balanced_rows(kept.targets, self.batch))
        logits = extras.get(LOGITS)
        return (
            inputs.to(strategy.device),
            labels.to(strategy.device),
            None if logits is None else logits.to(strategy.device),
        )

    def _refuse_sensitive(self) -> None:
        if self.groups == "sensitive":
            from cl_suite.errors import UserError

            raise UserError(
                "--strategy.groups sensitive needs sessions to be measured on, and phases come "
                "within the first one; take bn+fc, or the strategy fpf"
            )

    def state_dict(self) -> dict[str, Any]:
        kept = None if self.buffer_ is None else self.buffer_.state_dict()
        return {**super().state_dict(), "buffer_": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "buffer_"})
        if state["buffer_"] is None:
            self.buffer_ = None
            return
        if self.buffer_ is None:
            self.buffer_ = ReservoirBuffer(self.buffer)
        self.buffer_.load_state_dict(state["buffer_"])
