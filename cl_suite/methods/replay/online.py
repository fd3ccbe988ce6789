"""Base class for online rehearsal: a reservoir of the stream, replayed in each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from cl_suite.avalanche.template import needs_task_labels
from cl_suite.methods.replay.buffer import ReservoirBuffer
from cl_suite.methods.replay.exemplars import TASK, Extras
from cl_suite.plugin import BatchLayout, Requirements, StrategyPlugin, Template, Within, rows_of


@dataclass(kw_only=True, eq=False)
class OnlineReplayPlugin(StrategyPlugin):
    """Offer each sample of the stream to a reservoir once, right after the step that learned it.

    Subclasses define the epoch and the extras kept with a sample, and draw replay batches in
    `before_backward`.

    Args:
        buffer: number of samples kept.
        replay_batch: maximum number of kept samples drawn in a step.
    """

    buffer: Annotated[int, Within(1)]
    replay_batch: Annotated[int, Within(1)]
    buffer_: ReservoirBuffer = field(init=False, repr=False)

    requirements = Requirements(carries_base_state=True, batch=BatchLayout(rows=True))

    # slots of this step's replay batches
    _drawn: tuple[Tensor, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.buffer_ = ReservoirBuffer(self.buffer)

    def is_offered(self, template: Template) -> bool:
        """Return whether the current batch is offered to the reservoir."""
        raise NotImplementedError

    def extras(self, template: Template) -> Extras:
        """Return the extras kept with each sample of the current batch, `(batch, ...)`."""
        return {}

    def replay(self, template: Template) -> tuple[Tensor, Tensor, Extras]:
        """Draw from the reservoir without replacement; return logits, class ids and extras."""
        slots = self.buffer_.draw_rows(self.replay_batch)
        self._drawn = (*self._drawn, slots)
        inputs, labels, extras = self.buffer_.exemplars.batch(slots)
        extras = {name: each.to(template.device) for name, each in extras.items()}
        tasks = [extras[TASK]] if needs_task_labels(template.model) else []
        with precision_of(template):
            logits = template.model(inputs.to(template.device), *tasks)
        return logits.float(), labels.to(template.device), extras

    def replayed_plain(self) -> Tensor | None:
        """Return this step's replay inputs with the evaluation transform, for a wrapper."""
        if not self._drawn:
            return None
        return self.buffer_.exemplars.batch(torch.cat(self._drawn), "eval")[0]

    def kept_data(self) -> tuple[int, int]:
        return self.buffer_.num_samples, self.buffer_.num_bytes

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.buffer_.bind(template.experience.dataset)

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        self._drawn = ()

    def after_training_iteration(self, template: Template, **kwargs: Any) -> None:
        if self.is_offered(template):
            rows = rows_of(template, self)
            self.buffer_.insert(template.adapted_dataset, rows, self.extras(template))


def precision_of(template: Template) -> torch.autocast:
    """Return the precision of the batch's forward pass, for further passes in the same step.

    A template in lower precision wraps only its own pass.
    """
    dtype = template.mb_output.dtype
    lower = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(
        template.mb_output.device.type, dtype=dtype if lower else torch.bfloat16, enabled=lower
    )
