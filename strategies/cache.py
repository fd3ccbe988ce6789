"""A cache of single samples beside class means, fused by agreement: CaFo without generators.

Zhang et al., "Prompt, Generate, then Cache: Cascade of Foundation Models makes Strong Few-shot
Learners", CVPR 2023, arXiv 2303.02151, on the cache of Tip-Adapter (ECCV 2022, arXiv 2207.09519).
With unit features `q` of a query and `k_i` of kept samples of class `y_i`:

    z_c = T cos(q, m_c)                                      m_c = class mean
    h_c = mean over i with y_i = c of exp(-beta (1 - q . k_i))
    w_m = softmax over caches m of  h'_m . z' / C             ' : standardised over the C classes
    score = z + alpha sum_m w_m h'_m

A class mean forgets that a class may have several looks; single samples keep them. A new class
appends its shots, so nothing before it changes. `views` adds a cache for each further pass over the
kept samples by the training transform; the cache that agrees more with the class means has the
larger say.

Differences from the paper:
    - `z` is the cosine to class means, with `T` = 16; there it is CLIP's score of the class's text,
      with 100. The generators (GPT-3's prompts, DALL-E's images) are left out.
    - The caches are views of one backbone's features, not the features of CLIP and DINO: a run has
      one backbone.
    - Keys are not trained.
    - `alpha` and `beta` are chosen on fake streams cut from the base session; theirs on the
      validation images, after the epoch that is best on the test images. In a base session too
      small for fake streams they are the paper's, 0.6 and 1.
    - A class's cache logit is a mean, not a sum: otherwise base classes of many samples would win.
      The agreement is divided by the number of classes, with which it grows.
    - `base_keys` bounds the samples kept of a base class, drawn by `key_seed`.

The kept features are `dim` numbers a sample and view; checkpoints hold them. They pay by their
number: on miniImageNet (100 images a base class, frozen EfficientNet-Lite0) the score on fake
streams, and then average / last accuracy / harmonic mean on the tests, are

    class means alone    70.7   69.8 / 65.7 / 59.6
    base_keys 5          72.6   70.0 / 67.4 / 65.1
    base_keys 20         73.8   70.9 / 67.9 / 66.3
    base_keys null       75.1   73.0 / 69.6 / 68.0
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose, fake_figures, fake_tasks
from cl_suite.methods.further_views import further_views
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.cache import CacheHead, agreed, cache_logits
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.plugin import Template, Within, session_features

ALPHAS = (0.0, 0.3, 0.6, 1.0, 2.0)
BETAS = (1.0, 5.5, 16.0, 32.0)
DEFAULTS = {"alpha": 0.6, "beta": 1.0}
TEMPERATURE = 16.0


@dataclass(kw_only=True, eq=False)
class CachePlugin(HeadPlugin):
    """Class means, and a cache of single samples that corrects their scores.

    Args:
        alpha: weight of the caches beside the class means; null: chosen on fake streams, or 0.6 if
            the base session is too small for that.
        beta: sharpness of a cache; null: as for `alpha`, or 1.
        base_keys: samples of each base class in the cache; null: all.
        views: further passes over the kept samples by the training transform, a cache each. They
            add nothing if that transform is not random, as with a feature bank without
            `--model.bank_views`.
        by_count: a class's cache logit is the mean over its samples; false: the sum.
        per_class: divide the agreement by the number of classes; false: as in the paper, one cache
            then takes nearly all weight if there are many classes.
        key_seed: seed of the draw of base samples.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    alpha: Annotated[float, Within(0)] | None = None
    beta: Annotated[float, Within(0)] | None = None
    base_keys: Annotated[int, Within(1)] | None = None
    views: Annotated[int, Within(0)] = 0
    by_count: bool = True
    per_class: bool = True
    key_seed: Annotated[int, Within(0)] = 0
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    parameters_: dict[str, float] = field(default_factory=dict, init=False)  # the values in use
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared
    kept_: list[int] = field(default_factory=lambda: [0, 0], init=False)  # samples, bytes

    def kept_data(self) -> tuple[int, int]:
        return self.kept_[0], self.kept_[1]

    def session_note(self, session: int) -> str:
        return choice_note(self.choice_) if session == 0 else ""

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        return CacheHead(
            dim,
            num_classes,
            TEMPERATURE,
            num_caches=1 + self.views,
            by_count=self.by_count,
            per_class=self.per_class,
        )

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        assert isinstance(head, CacheHead)
        features, labels = session_features(template)
        is_base = not self.base_classes_
        if is_base:
            self._choose(features, labels)
            head.set_weights(**self.parameters_)
        stats = class_stats(features, labels)
        head.set_rows(stats.classes, stats.mean)
        num = self.base_keys if is_base else None
        generator = torch.Generator().manual_seed(self.key_seed)
        rows = drawn_rows(labels.cpu(), num, generator)
        keys = torch.stack([features[rows], *further_views(template, rows, self.views)])
        head.append(keys, labels[rows])
        self.kept_ = [len(head.owners), head.samples.numel() * head.samples.element_size()]
        return stats.classes

    def _choose(self, features: Tensor, labels: Tensor) -> None:
        given = {"alpha": self.alpha, "beta": self.beta}
        self.parameters_ = {n: DEFAULTS[n] if v is None else v for n, v in given.items()}
        generator = torch.Generator().manual_seed(self.choice_seed)
        tasks = fake_tasks(labels, generator=generator, num_tasks=3, shots=self.fake_shots)
        if None not in given.values() or not tasks:
            return
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        betas = BETAS if self.beta is None else (self.beta,)
        candidates = [{"alpha": a, "beta": b} for b, a in itertools.product(betas, alphas)]
        choice = choose(
            candidates, tasks, lambda task: self.figures(features, labels, task, betas, alphas)
        )
        self.parameters_, self.choice_ = choice.best, choice.state_dict()

    def figures(
        self,
        features: Tensor,
        labels: Tensor,
        task: FakeTask,
        betas: tuple[float, ...],
        alphas: tuple[float, ...],
    ) -> Tensor:
        """Return the figures `(num_candidates, 2)` of all pairs of values in a fake stream."""
        columns, unit = task.columns(labels), F.normalize(features)
        generator = torch.Generator().manual_seed(self.key_seed)
        drawn = drawn_rows(labels[task.train].cpu(), self.base_keys, generator)
        keys = torch.cat([task.train[drawn.to(task.train.device)], task.shots])
        stats = class_stats(
            features[torch.cat([task.train, task.shots])],
            columns[torch.cat([task.train, task.shots])],
        )
        test, num = unit[task.test], len(stats.classes)
        means = TEMPERATURE * test @ F.normalize(stats.mean).to(test).T
        cosines = test @ unit[keys].T
        found = []
        for beta in betas:
            cache = cache_logits(cosines, columns[keys], num, beta, self.by_count)[None]
            for alpha in alphas:
                scores = agreed(means, cache, alpha=alpha, per_class=self.per_class)
                found.append(fake_figures(scores, labels, task))
        return torch.cat(found)


def drawn_rows(labels: Tensor, num: int | None, generator: torch.Generator) -> Tensor:
    """Return the rows, ascending, of at most `num` samples of each class; None: of all.

    Args:
        labels: `(n,)` class ids, on the CPU.
    """
    order = torch.randperm(len(labels), generator=generator)
    if num is None:
        return torch.arange(len(labels))
    kept = [order[labels[order] == c][:num] for c in torch.unique(labels)]
    return torch.cat(kept).sort().values
