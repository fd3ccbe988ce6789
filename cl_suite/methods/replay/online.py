"""What online rehearsal methods share: a reservoir of the stream, replayed in each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cl_suite.methods.replay.buffer import ReservoirBuffer
from cl_suite.methods.replay.exemplars import Extras
from cl_suite.plugin import Strategy, StrategyPlugin, rows_of


class OnlineReplayPlugin(StrategyPlugin):
    """Show each sample of the stream to a reservoir once, right after the step that learned it.

    Subclasses say in which epoch, and what is kept beside the sample; and draw replay batches in
    `before_backward`.

    Args:
        buffer: number of samples kept.
        replay_batch: samples drawn from them in a step, at most.
    """

    keeps_base_state = True  # the reservoir
    row_numbers = True
    bounds = {"buffer": (1, math.inf), "replay_batch": (1, math.inf)}  # noqa: RUF012

    _drawn: tuple[Tensor, ...] = ()  # slots of this step's replay batches

    def __init__(self, *, buffer: int, replay_batch: int) -> None:
        self.buffer = buffer
        self.replay_batch = replay_batch
        self.buffer_: ReservoirBuffer | None = None

    @property
    def reservoir(self) -> ReservoirBuffer:
        """What is kept."""
        if self.buffer_ is None:
            self.buffer_ = ReservoirBuffer(self.buffer)
        return self.buffer_

    def is_offered(self, strategy: Strategy) -> bool:
        """Return whether the batch under way is shown to the reservoir."""
        raise NotImplementedError

    def extras(self, strategy: Strategy) -> Extras:
        """Return what is kept beside each sample of the batch under way, `(batch, ...)`."""
        return {}

    def replay(self, strategy: Strategy) -> tuple[Tensor, Tensor, Extras]:
        """Draw from the reservoir without replacement; return logits, class ids and extras."""
        slots = self.reservoir.draw_rows(self.replay_batch)
        self._drawn = (*self._drawn, slots)
        inputs, labels, extras = self.reservoir.exemplars.batch(slots)
        with precision_of(strategy):
            logits = strategy.model(inputs.to(strategy.device))
        extras = {name: each.to(strategy.device) for name, each in extras.items()}
        return logits.float(), labels.to(strategy.device), extras

    def replayed_plain(self) -> Tensor | None:
        """Return what this step has drawn by the evaluation transform, for a strategy around it."""
        if not self._drawn:
            return None
        return self.reservoir.exemplars.batch(torch.cat(self._drawn), "eval")[0]

    def kept_data(self) -> tuple[int, int]:
        return self.reservoir.num_samples, self.reservoir.num_bytes

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self.reservoir.bind(strategy.experience.dataset)

    def before_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        self._drawn = ()

    def after_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        if self.is_offered(strategy):
            rows = rows_of(strategy, self)
            self.reservoir.insert(strategy.adapted_dataset, rows, self.extras(strategy))

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "buffer_": self.reservoir.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "buffer_"})
        # into the present one: it may have its transforms already
        self.reservoir.load_state_dict(state["buffer_"])


def precision_of(strategy: Strategy) -> torch.autocast:
    """Return the precision of the batch's own pass, for further ones in the same step.

    A template that runs in lower precision wraps its own pass alone.
    """
    dtype = strategy.mb_output.dtype
    lower = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(
        strategy.mb_output.device.type, dtype=dtype if lower else torch.bfloat16, enabled=lower
    )
