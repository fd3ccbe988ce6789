"""LIMIT: rehearse few-shot sessions with base classes, and learn to calibrate class vectors there.

Zhou, Ye, Ma, Xie, Pu, Zhan, "Few-Shot Class-Incremental Learning by Sampling Multi-Phase Tasks",
IEEE TPAMI 45(11), 2023, arXiv 2203.17030. Three stages:

1. The base session by the training recipe, cross-entropy on a cosine classifier.
2. `meta_epochs` more on the base session's data. In each step some of its classes play new ones:
   their vectors are means of `sample_shot` images, `p_c = mean f(x)`, those of the others rows of
   the classifier `W`. All are calibrated together with each query by self-attention, `g` (see
   `cl_suite.models.heads.set_attention`), and cross-entropy over all base classes trains
   `f`, `g` and `W`:
       L = mean over tasks and queries of  CE(score(g([p_new; W_old], f(x))), y)
   Before each of these epochs the rows of `W` become class means.
3. Later sessions write class means. Nothing is trained; predictions go through `g`.

With `num_phases` above 1 the new classes of a task arrive in as many fake sessions, and the loss is
the mean over the sessions, each among the classes arrived; the released code has one.

In a bare Avalanche program the last `meta_epochs` of the template's `train_epochs` are stage 2. A
frozen backbone needs no stage 1; then `g` and `W` alone learn.

Differences from the authors' code:
    - Each of a step's tasks has new classes of its own, from a pool of twice as many. There all 32
      tasks are one, and its query goes through `g` as often as tasks went before, by an overwritten
      variable. Four tasks by default.
    - The network is the one after the last epoch. Theirs is the one that is best on the test images
      of the first session, its true new classes included.
    - Attention covers the classes that have come. Theirs also covers rows of classes to come, which
      are random or left over.
    - Class means come from a view of the data of their own. Theirs switches the training transform
      of stage 2 off after one epoch.
    - Rows of `W` are class means when stage 2 begins, too: with a frozen backbone there are no
      others.
    - Queries are not among the support images.
    - Momentum begins anew in stage 2, for gradients of another loss.
    - What is alike: the whole network is in eval mode in stage 2, so BatchNorm's statistics are
      those of stage 1; and no dropout acts. `dropout` is that on what attention adds to a vector,
      0.5 in their text; dropout of the attention weights is left out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.methods.episodes.fake_sessions import FakeSessionLoader, draw_fake_session, meta_loss
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.methods.optimizer_groups import own_group
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import FeatureTap
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.heads.set_attention import Score, SetHead
from cl_suite.plugin import Strategy, session_stats


class LIMITPlugin(HeadPlugin):
    """Class means, calibrated with each query by attention that rehearsed it on base classes.

    Args:
        meta_epochs: epochs of stage 2; 0: plain prototypes.
        num_tasks: divisions of the base classes into old and new ones a step.
        sample_way: classes that play new ones in a task; at most half of the base classes do.
        sample_shot: images of each.
        num_phases: fake sessions in which they arrive.
        query_size: images to classify a step.
        calibrate: false leaves `g` out, so that stage 2 trains `f` and `W` by cosines alone.
        score: cosine, or semi for a product with the calibrated query as it is.
        temperature: factor on cosines, divisor of semi; null: 16 and 0.5.
        dropout: rate on what attention adds to a vector, in stage 2.
        lr_backbone: learning rate of `f` in stage 2; 0: it stays as it is.
        lr_head: learning rate of `g` and `W` in stage 2.
        milestones: epochs of stage 2 at which both are multiplied by `gamma`.
        gamma: factor of the rates.
        overwrite_rows: false leaves base rows to training once stage 2 has begun.
    """

    bounds = {  # noqa: RUF012
        "meta_epochs": (0, math.inf),
        "num_tasks": (1, math.inf),
        "sample_way": (1, math.inf),
        "sample_shot": (1, math.inf),
        "num_phases": (1, math.inf),
        "query_size": (1, math.inf),
        "dropout": (0, 0.99),
        "lr_backbone": (0, math.inf),
        "lr_head": (0, math.inf),
        "gamma": (0, 1),
    }

    _rehearsed: CosineHead  # of the base session
    _tap: FeatureTap  # of the batch under way

    def __init__(
        self,
        *,
        meta_epochs: int = 20,
        num_tasks: int = 4,
        sample_way: int = 16,
        sample_shot: int = 1,
        num_phases: int = 1,
        query_size: int = 128,
        calibrate: bool = True,
        score: Score = "cosine",
        temperature: float | None = None,
        dropout: float = 0.0,
        lr_backbone: float = 2e-4,
        lr_head: float = 2e-4,
        milestones: Sequence[int] = (2, 4, 6),
        gamma: float = 0.3,
        overwrite_rows: bool = True,
    ) -> None:
        super().__init__()
        self.meta_epochs = meta_epochs
        self.num_tasks = num_tasks
        self.sample_way = sample_way
        self.sample_shot = sample_shot
        self.num_phases = num_phases
        self.query_size = query_size
        self.calibrate = calibrate
        self.score = score
        self.temperature = temperature
        self.dropout = dropout
        self.lr_backbone = lr_backbone
        self.lr_head = lr_head
        self.milestones = milestones
        self.gamma = gamma
        self.overwrite_rows = overwrite_rows

    def extra_epochs(self, session: int) -> int:
        return self.meta_epochs if session == 0 else 0

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        if not self.calibrate:
            return CosineHead(dim, num_classes, temperature)
        scale = self.temperature
        if scale is None:
            scale = 16.0 if self.score == "cosine" else 0.5
        return SetHead(dim, num_classes, temperature, self.score, scale, self.dropout)

    def before_training(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training(strategy, **kwargs)
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise UserError(
                f"--strategy.temperature must be above 0 and finite, or null, got "
                f"{self.temperature}"
            )

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        if self.base_classes_:
            return
        head, classes = self._head(strategy), strategy.experience.classes_in_this_experience
        assert isinstance(head, CosineHead), "as made by make_head"
        self._warn_of_few(len(classes))
        head.grow(sorted(int(c) for c in classes))
        head.requires_grad_(True)
        self._rehearsed = head
        own_group(strategy.optimizer, list(head.parameters()))

    def before_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        super().before_training_epoch(strategy, **kwargs)
        first = max(0, strategy.train_epochs - self.extra_epochs(0))
        epoch = strategy.clock.train_exp_epochs - first
        if self.base_classes_ or epoch < 0:
            return
        head = self._rehearsed
        if epoch == 0:
            strategy.optimizer.state.clear()
        if epoch == 0 or self.overwrite_rows:
            self._write_means(strategy, head)
        if not self._rehearses(strategy):
            strategy.dataloader = self._fake_sessions(strategy)
        # no statistics from so few steps, nor dropout that stage 1 did not ask for
        _network(strategy.model).eval()
        head.train()
        self._set_rates(strategy, head, self.gamma ** sum(epoch >= m for m in self.milestones))

    def before_forward(self, strategy: Strategy, **kwargs: Any) -> None:
        if self._rehearses(strategy):
            self._tap = FeatureTap(strategy.model)

    def after_forward(self, strategy: Strategy, **kwargs: Any) -> None:
        if self._rehearses(strategy):
            self._tap.end()

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        if not self._rehearses(strategy):
            return
        head, loader = self._rehearsed, strategy.dataloader
        class_ids = loader.class_ids.to(strategy.mb_y.device)
        order = strategy.mbatch[2]
        strategy.loss = meta_loss(
            partial(scores_of, head),
            head.weight[head.index(loader.class_ids.tolist())],
            self._tap.features.float(),
            torch.searchsorted(class_ids, strategy.mb_y),
            order,
            way=self._way(order.shape[1]),
            shot=self.sample_shot,
            num_phases=self.num_phases,
        )

    def after_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        if self._rehearses(strategy):
            _network(strategy.model).train()

    def learn(self, strategy: Strategy, head: ClassHead) -> list[int]:
        if self.base_classes_ or self.overwrite_rows or not self.meta_epochs:
            self._write_means(strategy, head)
        if not self.base_classes_ and self.meta_epochs and isinstance(head, SetHead):
            head.calibrate()
        return sorted(int(c) for c in strategy.experience.classes_in_this_experience)

    def _warn_of_few(self, num_classes: int) -> None:
        if (way := self._way(num_classes)) < self.sample_way:
            warnings.warn(
                f"LIMIT has {num_classes} base classes, so {way} and not sample_way = "
                f"{self.sample_way} play new ones in a task",
                stacklevel=2,
            )

    def _way(self, num_classes: int) -> int:
        return max(1, min(self.sample_way, num_classes // 2))

    def _rehearses(self, strategy: Strategy) -> bool:
        return isinstance(strategy.dataloader, FakeSessionLoader)

    def _write_means(self, strategy: Strategy, head: ClassHead) -> None:
        stats = session_stats(strategy)
        head.set_rows(stats.classes, stats.mean)

    def _fake_sessions(self, strategy: Strategy) -> FakeSessionLoader:
        data = strategy.adapted_dataset
        num_classes = len(strategy.experience.classes_in_this_experience)
        draw = partial(
            draw_fake_session,
            way=self._way(num_classes),
            shot=self.sample_shot,
            num_queries=self.query_size,
            num_tasks=self.num_tasks,
        )
        workers = getattr(strategy.dataloader, "num_workers", 0)
        return FakeSessionLoader(data, draw, math.ceil(len(data) / self.query_size), workers)

    def _set_rates(self, strategy: Strategy, head: ClassHead, factor: float) -> None:
        of_head = {id(p) for p in head.parameters()}
        for group in strategy.optimizer.param_groups:
            own = any(id(p) in of_head for p in group["params"])
            group["lr"] = factor * (self.lr_head if own else self.lr_backbone)


def scores_of(head: CosineHead, rows: Tensor, queries: Tensor) -> Tensor:
    """Return scores `(num_tasks, n, K)` by `g`, or by cosines where the head has none."""
    if isinstance(head, SetHead):
        return head.calibrated_scores(rows, queries)
    return head.temperature * F.normalize(queries) @ F.normalize(rows, dim=-1).mT


def _network(model: nn.Module) -> nn.Module:
    """Return what of a model makes the features."""
    return model.backbone if isinstance(model, Classifier) else model
