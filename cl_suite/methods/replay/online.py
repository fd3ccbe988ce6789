"""Base class for online rehearsal: a reservoir of the stream, replayed in each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from cl_suite.avalanche.template import needs_task_labels
from cl_suite.methods.replay.buffer import ReservoirBuffer
from cl_suite.methods.replay.exemplars import TASK, Extras
from cl_suite.plugin import BatchLayout, Requirements, StrategyPlugin, Template, Within, rows_of

Replayed = tuple[Tensor, Tensor, Extras]  # inputs or logits, class ids, extras


@dataclass(kw_only=True, eq=False)
class OnlineReplayPlugin(StrategyPlugin):
    """Offer each sample of the stream to a reservoir once, right after the step that learned it.

    Subclasses define the epoch, the extras kept with a sample and the number of replay batches, and
    take these in `before_backward`.

    Args:
        buffer: number of samples kept.
        replay_batch: maximum number of kept samples drawn in a step.
        passes: the stream's batch and the replayed ones in one pass through the network (joint), or
            each in a pass of its own (separate); a network that needs task labels always takes
            separate passes.
    """

    buffer: Annotated[int, Within(1)]
    replay_batch: Annotated[int, Within(1)]
    passes: Literal["joint", "separate"] = "joint"
    buffer_: ReservoirBuffer = field(init=False, repr=False)

    requirements = Requirements(carries_base_state=True, batch=BatchLayout(rows=True))

    # of the joint pass: each draw's inputs (then logits), class ids and extras; the stream's inputs
    _draws: list[Replayed] = field(default_factory=list, init=False, repr=False)
    _stream: Tensor = field(init=False, repr=False)
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

    def num_draws(self, template: Template) -> int:
        """Return how many replay batches this step takes."""
        raise NotImplementedError

    def draw(self) -> Replayed:
        """Draw from the reservoir without replacement; return inputs, class ids and extras."""
        slots = self.buffer_.draw_rows(self.replay_batch)
        self._drawn = (*self._drawn, slots)
        return self.buffer_.exemplars.batch(slots)

    def replay(self, template: Template) -> Replayed:
        """Return logits, class ids and extras of the step's next replay batch."""
        if self._draws:
            return self._draws.pop(0)
        inputs, labels, extras = self._moved(self.draw(), template)
        tasks = [extras[TASK]] if needs_task_labels(template.model) else []
        with precision_of(template):
            logits = template.model(inputs, *tasks)
        return logits.float(), labels, extras

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        self._draws = []
        num = self.num_draws(template) if self.buffer_.num_samples else 0
        # a joint batch would have no task labels
        if num and self.passes == "joint" and not needs_task_labels(template.model):
            self._stream = template.mb_x
            self._draws = [self._moved(self.draw(), template) for _ in range(num)]
            _put_inputs(template, torch.cat([self._stream, *(draw[0] for draw in self._draws)]))

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        if self._draws:
            sizes = [len(self._stream), *(len(draw[1]) for draw in self._draws)]
            template.mb_output, *logits = torch.split(template.mb_output, sizes)
            self._draws = [
                (own.float(), *draw[1:]) for own, draw in zip(logits, self._draws, strict=True)
            ]
            _put_inputs(template, self._stream)

    def _moved(self, drawn: Replayed, template: Template) -> Replayed:
        inputs, labels, extras = drawn
        extras = {name: each.to(template.device) for name, each in extras.items()}
        return inputs.to(template.device), labels.to(template.device), extras

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


def _put_inputs(template: Template, inputs: Tensor) -> None:
    assert isinstance(template.mbatch, list), "true of Avalanche's templates"
    template.mbatch[0] = inputs


def precision_of(template: Template) -> torch.autocast:
    """Return the precision of the batch's forward pass, for further passes in the same step.

    A template in lower precision wraps only its own pass.
    """
    dtype = template.mb_output.dtype
    lower = dtype in (torch.bfloat16, torch.float16)
    return torch.autocast(
        template.mb_output.device.type, dtype=dtype if lower else torch.bfloat16, enabled=lower
    )
