"""FPF: after a session, fine-tune the few parameters that forget (Zhao et al., ICML 2023).

"Does Continual Learning Equally Forget All Parameters?", arXiv 2304.04158. A network's tensors do
not all move by the same amount: when sessions change, a few jump, mostly those of BatchNorm and of
the classifier. After any method has trained, only these few are fine-tuned on the samples kept, for
some hundred steps:

    Theta* <- Theta* - lr grad L,   L = CE( f(x), y ),  (x, y) kept samples, classes drawn evenly

The host is any strategy. Samples come from the host's own buffer. If it has none, they come from a
reservoir kept for this purpose.

Differences from the paper (its code is not public):
    - Fine-tuning follows every session except the first, because each is evaluated; the paper's
      comes once, after the stream. After a single session there is nothing to balance.
    - `groups: sensitive` ranks tensors by the score of `cl_suite.models.dynamics`, measured on the
      first two sessions; the paper's automatic score could not be confirmed. Until the
      score is known, nothing is tuned.
    - BatchNorm layers that are tuned also follow the statistics of the kept samples, and all others
      keep theirs; this is our reading.
    - Number of steps, batch and rate are reconstructed (300, 32, the host's rate, by a cosine).
    - The host's form of replay is the host's own: `er` draws a memory batch beside each batch, as
      the paper's hosts do; `host_params: {replay: union}` is the other form.
    - Distillation (FPF-KD) adds the squared distance to the logits that a host keeps with its
      samples, as `der` does; other hosts keep none, and `kfpf` keeps its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.methods.host import WrappingPlugin
from cl_suite.methods.partial_tuning import (
    Batch,
    Groups,
    balanced_rows,
    named_group,
    starting_rate,
    tune,
)
from cl_suite.methods.replay.buffer import ReservoirBuffer, check_budget, parse_budget
from cl_suite.methods.replay.exemplars import Exemplars
from cl_suite.methods.replay.logits import LOGITS
from cl_suite.models.dynamics import Dynamics, most_sensitive, sensitivities
from cl_suite.plugin import Template, Within


@dataclass(kw_only=True, eq=False)
class FPFPlugin(WrappingPlugin):
    """Fine-tune the parameters that forget, at the end of each session of a host strategy.

    Args:
        host: name of the strategy that trains; in a program also a plugin.
        host_params: parameters of the host that differ from its YAML file.
        groups: tensors to fine-tune: bn+fc, bn+fc+conv1, fc, all, or sensitive (the tensors that
            move most when sessions change, as many as `budget` allows).
        budget: share of the network's scalars that are tuned if groups is sensitive.
        iterations: number of fine-tuning steps.
        batch: samples per step.
        lr: learning rate at the start; null: the initial one of the session's training, or 0.05 if
            that is not by SGD, as the fine-tuning is.
        momentum: momentum of the fine-tuning's own SGD.
        distillation: weight of the distance to the logits that the host has kept; 0: none.
        buffer: samples kept if the host keeps none, as in `er`.
    """

    host: Any = "er"
    groups: Groups = "bn+fc"
    budget: Annotated[float, Within(0, 1)] = 0.01
    iterations: Annotated[int, Within(0)] = 300
    batch: Annotated[int, Within(1)] = 32
    lr: Annotated[float, Within(0)] | None = None
    momentum: Annotated[float, Within(0, 1)] = 0.0
    distillation: Annotated[float, Within(0)] = 0.0
    buffer: Annotated[int, Within(1)] | str = 500
    buffer_: ReservoirBuffer = field(init=False, repr=False)  # filled if the host has none
    sessions_: int = field(default=0, init=False)
    # movements of the tensors in the first two sessions
    records_: list[dict[str, Any]] = field(default_factory=list, init=False)
    positions_: dict[str, Tensor] = field(default_factory=dict, init=False)
    chosen_: list[str] = field(default_factory=list, init=False)
    tuned_samples_: int = field(default=0, init=False)  # samples read by fine-tuning so far

    def __post_init__(self) -> None:
        super().__post_init__()
        self.buffer_ = ReservoirBuffer(self.buffer)

    def check(self) -> None:
        super().check()
        parse_budget(self.buffer)

    @property
    def runs_network(self) -> bool:
        return True

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        super().check_stream(info, session_sizes)
        if not hasattr(self.hosted, "num_logits_"):
            self._check_logits(None)
        if not keeps_samples(self.hosted):
            check_budget(self.buffer, info.session_classes, session_sizes)

    def kept_data(self) -> tuple[int, int]:
        num, size = super().kept_data()
        return num + self.buffer_.num_samples, size + self.buffer_.num_bytes

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if not keeps_samples(self.hosted):
            self.buffer_.bind(template.experience.dataset)
        if self._measures:
            self.positions_ = Dynamics(template.model).before

    def after_training_epoch(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("after_training_epoch", template, **kwargs)
        if self._measures:
            dynamics = Dynamics(template.model)
            dynamics.before, dynamics.records = self.positions_, self.records_
            dynamics.epoch(self.sessions_, template.clock.train_exp_epochs)
            self.records_, self.positions_ = dynamics.records, dynamics.before

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self._hand_on("after_training_exp", template, **kwargs)
        if host_samples(self.hosted) is None:
            self._fill(template)
        self.sessions_ += 1
        if self.groups == "sensitive" and self.sessions_ == 2:
            self._choose()
        names = self._names(template)
        if self.sessions_ > 1 and names:
            tune(
                template.model,
                names,
                lambda: self._draw(template),
                iterations=self.iterations,
                lr=starting_rate(template, self.lr),
                momentum=self.momentum,
                distillation=self.distillation,
            )

    @property
    def _measures(self) -> bool:
        return self.groups == "sensitive" and self.sessions_ < 2

    def _names(self, template: Template) -> set[str]:
        if self.groups == "sensitive":
            return set(self.chosen_)
        # anew each time: the head has grown
        return named_group(template.model, self.groups)

    def _choose(self) -> None:
        try:
            found = sensitivities(self.records_)
        except ValueError:
            warnings.warn(
                "fpf: sessions of one epoch do not show which tensors are sensitive, so nothing is "
                f"tuned; pass {option('training.incremental_epochs', '2')}, or "
                f"{option('strategy.groups', 'bn+fc')}",
                stacklevel=2,
            )
        else:
            self.chosen_ = most_sensitive(found, self.budget)
        self.records_, self.positions_ = [], {}

    def _fill(self, template: Template) -> None:
        data = template.experience.dataset
        self.buffer_.insert(data, torch.randperm(len(data)))

    def _draw(self, template: Template) -> Batch:
        kept = host_samples(self.hosted)
        if kept is None:
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
            inputs.to(template.device),
            labels.to(template.device),
            None if logits is None else logits.to(template.device),
        )

    def _check_logits(self, logits: Tensor | None) -> None:
        if self.distillation and logits is None:
            raise UserError(
                f"{option('strategy.distillation')} needs logits that the host keeps, and "
                f"{self.host_name} keeps none; pass {option('strategy.host', 'der')}, or choose "
                "strategy kfpf"
            )

    def session_note(self, session: int) -> str:
        notes = [super().session_note(session)]
        if self.groups == "sensitive" and self.chosen_:
            more = ", ..." if len(self.chosen_) > 3 else ""
            notes.append(
                f"fine-tunes the {len(self.chosen_)} most sensitive tensors: "
                f"{', '.join(self.chosen_[:3])}{more}"
            )
        return "; ".join(filter(None, notes))


def keeps_samples(host: Any) -> bool:
    """Return whether a host has its own buffer, filled or not."""
    return hasattr(host, "buffer_") or hasattr(host, "storage_policy")


def host_samples(host: Any) -> Any:
    """Return the samples that a host keeps: `Exemplars`, an Avalanche data set, or None."""
    own = getattr(host, "buffer_", None)
    if own is not None:
        return own.exemplars if own.num_samples else None
    policy = getattr(host, "storage_policy", None)  # of Avalanche's ReplayPlugin
    return policy.buffer.train() if policy is not None and len(policy.buffer) else None
