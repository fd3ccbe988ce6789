"""Losses against a queue of a momentum copy's keys, without labels: MoCo and ASCL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from cl_suite.losses.ascl import Variant, ascl_loss
from cl_suite.losses.moco import moco_loss
from cl_suite.methods.contrastive.recipe import (
    ContrastBatch,
    KeyedRecipe,
    ScaledRecipe,
    both_ways,
)
from cl_suite.parameters import Above, Within


@dataclass(kw_only=True, eq=False)
class MoCo(KeyedRecipe, ScaledRecipe):
    """MoCo v2 (He et al., CVPR 2020) with both views as queries and one queue.

    Args:
        hardest: negatives for each query, those with the largest cosine; null: all.
        false_negative_ceiling: leave out negatives with a larger cosine.
        use_labels: leave out negatives of the query's class.
    """

    temperature: Annotated[float, Above(0)] = 0.2
    hardest: Annotated[int, Within(1)] | None = None
    false_negative_ceiling: Annotated[float, Within(-1, 1)] | None = None
    use_labels: bool = False

    @property
    def supervised(self) -> bool:
        return self.use_labels

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: moco_loss(
                z,
                keys,
                queue=batch.memory["keys"],
                temperature=self.temperature,
                hardest=self.hardest,
                false_negative_ceiling=self.false_negative_ceiling,
                labels=batch.labels if self.use_labels else None,
                queue_labels=batch.memory["labels"],
            ),
        )


@dataclass(kw_only=True, eq=False)
class ASCL(KeyedRecipe, ScaledRecipe):
    """Adaptive soft contrastive learning (Feng, Patras, ICPR 2022).

    The paper's teacher sees a weakly augmented view; here it sees the other random view.

    Args:
        teacher_temperature: of the teacher's softmax over the queue.
        neighbours: queue rows that may count as positives.
        variant: see `ascl_loss`.
    """

    teacher_temperature: Annotated[float, Above(0)] = 0.05
    neighbours: Annotated[int, Within(0)] = 1
    variant: Variant = "soft"

    def loss(self, batch: ContrastBatch) -> Tensor:
        return both_ways(
            batch,
            lambda z, keys: ascl_loss(
                z,
                keys,
                queue=batch.memory["keys"],
                temperature=self.temperature,
                teacher_temperature=self.teacher_temperature,
                neighbours=self.neighbours,
                variant=self.variant,
            ),
        )
