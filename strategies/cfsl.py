"""Pretrain + Tune (+ Replay): tune on each support set, replaying images of the last sets.

"Pretrain + Tune" and "Pretrain + Tune + Replay" of Kowadlo, Ahmed, Mayan, Rawlinson, "Expanding
continual few-shot learning benchmarks to include recognition of specific instances", PLOS ONE 2024,
arXiv 2209.07863. The network begins a task (scenarios `cfsl` and `instance_test`) with pretrained
weights. On each support set it makes `T` steps of full-batch SGD (an epoch is a step) on

    mean cross-entropy over {the current set} + {k images of the sets remembered}

over the labels so far. Each step draws its `k` images anew, without replacement. The memory is a
queue of the last `memory_sets` support sets; a set joins it once it has been learned. Without
memory this is Pretrain + Tune. The YAML file holds the published steps, sets and `k` of each
setting. The recipe's step size is the authors' 0.01, on all layers.

Differences from the authors' code:
    - BatchNorm normalises by the statistics of the pretraining, in the steps and in testing. Theirs
      uses the batch's statistics, in testing too, so a prediction depends on the other targets.
    - The head has rows for the labels met so far; theirs has all of the task's from the beginning,
      untrained ones included.
    - Their table of step sizes, one for each tensor and step, holds 0.01 throughout, as here.
    - "recall", where a model of the hippocampus generates the replayed images, is not implemented;
      the published settings replay the images themselves.
    - The network is the suite's; theirs has two or three stages of up to 512 filters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch

from cl_suite.methods.replay.exemplars import TASK, Exemplars
from cl_suite.plugin import Requirements, StrategyPlugin, Template, Within


@dataclass(kw_only=True, eq=False)
class CFSLPlugin(StrategyPlugin):
    """Full-batch steps on a support set; each step adds images of the last sets.

    Args:
        memory_sets: number of support sets remembered; 0: none.
        replayed: images drawn from them for each step; all of them if there are fewer.
    """

    memory_sets: Annotated[int, Within(0)] = 2
    replayed: Annotated[int, Within(0)] = 10
    memory_: Exemplars = field(default_factory=Exemplars, init=False)
    # sizes of the sets remembered, the oldest first
    set_sizes_: list[int] = field(default_factory=list, init=False)

    requirements = Requirements(carries_base_state=True)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.memory_.bind(template.experience.dataset)

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        if not (num := min(self.replayed, len(self.memory_))):
            return
        inputs, labels, extras = self.memory_.batch(torch.randperm(len(self.memory_))[:num])
        # a batch of task-labelled data ends with the labels; other parts are a wrapper's
        others = list(template.mbatch[2:])
        if TASK in extras:
            others[-1] = torch.cat([others[-1], extras[TASK].to(template.device)])
        template.mbatch = [
            torch.cat([template.mb_x, inputs.to(template.device)]),
            torch.cat([template.mb_y, labels.to(template.device)]),
            *others,
        ]

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not self.memory_sets:
            return
        data = template.experience.dataset
        self.memory_.append(data, range(len(data)))
        self.set_sizes_ = [*self.set_sizes_, len(data)]
        forgotten = sum(self.set_sizes_[: -self.memory_sets])
        self.memory_.keep(range(forgotten, len(self.memory_)))
        self.set_sizes_ = self.set_sizes_[-self.memory_sets :]

    def kept_data(self) -> tuple[int, int]:
        return len(self.memory_), self.memory_.num_bytes
