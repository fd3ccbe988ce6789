"""Prototypical networks: train by episodes, then represent a class by the mean of all its shots.

Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017, arXiv
1703.05175, as the baseline of continual few-shot learning in Kowadlo et al., PLOS ONE 2024, arXiv
2209.07863. An episode draws `way` classes, with `shots` support and `queries` query images each:

    p_c = mean of f(x) over the support of c
    L   = mean over queries of -log softmax_c s(f(x), p_c)[y]
    s(f, p) = f . p  (dot)  |  T cos(f, p)  (cosine)  |  -||f - p||^2  (euclid)

An epoch of the first session has as many episodes as there are batches; later sessions do not
train. A prototype is the mean over all shots of its class so far, so classes may come again.

Differences from the papers or their code:
    - Snell et al. measure squared Euclidean distance. The code of Kowadlo et al. calls its measure
      cosine but computes the dot product, which is also the default here.
    - A network that dot products have not trained, or not for long, can have class means so unequal
      in length that the longest win everywhere. A warning says how many class means find
      themselves. A conv4 trained by cross-entropy reaches 3.6 % by dot and 40.4 % by cosine on
      100-way tasks of all of Omniglot. One that four epochs of this method trained reaches 21.2
      and 49.5 % (20 tasks of 16-way, two support sets, seed 0).
    - Theirs stores all support embeddings of a task; running sums give the same means.
    - In training, BatchNorm normalises a whole episode, support and query together.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.errors import option
from cl_suite.features.stats import ClassStats
from cl_suite.methods.episodes.fake_sessions import FakeSession, FakeSessionLoader
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.features import FeatureTap
from cl_suite.models.heads.class_head import ClassHead, CosineHead, LinearHead
from cl_suite.models.heads.dot import DotHead
from cl_suite.plugin import Requirements, Template, Within, session_stats

Similarity = Literal["dot", "cosine", "euclid"]

LEAST_FOUND = 0.75  # share of class means that are most similar to themselves, else a warning


@dataclass(kw_only=True, eq=False)
class ProtoNetPlugin(HeadPlugin):
    """Train by episodes in the first session; after each, write the running class means.

    Args:
        similarity: similarity of a feature and a prototype: dot, cosine or euclid.
        way: classes per episode, at most those of the session.
        shots: support images per class.
        queries: query images per class.
    """

    similarity: Similarity = "dot"
    way: Annotated[int, Within(2)] = 20
    shots: Annotated[int, Within(1)] = 1
    queries: Annotated[int, Within(1)] = 5
    stats_: ClassStats | None = field(default=None, init=False)

    trains_network = True

    # any kind of stream: running sums accept a class again
    requirements = Requirements(rewrites_rows=True)

    _tap: FeatureTap = field(init=False, repr=False)  # on the current batch

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        if self.similarity == "dot":
            return DotHead(dim, num_classes)
        if self.similarity == "cosine":
            return CosineHead(dim, num_classes, temperature)
        return LinearHead(dim, num_classes)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        if self.base_classes_:
            return
        self._tap = FeatureTap(template.model)
        steps = math.ceil(len(template.adapted_dataset) / template.train_mb_size)
        template.dataloader = FakeSessionLoader(
            template.adapted_dataset,
            lambda labels: draw_episode(
                labels, way=self.way, shots=self.shots, queries=self.queries
            ),
            steps,
            getattr(template.dataloader, "num_workers", 0),
        )

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        head = getattr(template.model, "head", None)
        temperature = head.temperature if isinstance(head, CosineHead) else 16.0
        way = template.mbatch[2].shape[1]
        template.loss = episode_loss(
            self._tap.features.float(), way, self.shots, self.similarity, temperature
        )

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not self.base_classes_:
            self._tap.end()
        super().after_training_exp(template, **kwargs)

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        new = session_stats(template)
        self.stats_ = new if self.stats_ is None else self.stats_.merge(new)
        mean = self.stats_.select(new.classes).mean
        if not self.base_classes_ and self.similarity == "dot":
            self._look_at_lengths(mean)
        if self.similarity == "euclid":
            # -||f - p||^2 without -||f||^2, which all classes share
            mean = torch.cat([2 * mean, -(mean**2).sum(1, keepdim=True)], dim=1)
        head.set_rows(new.classes, mean)
        return new.classes

    def _look_at_lengths(self, means: Tensor) -> None:
        """Warn if most of the class means `(classes, dim)` are more similar to a longer one."""
        found = int(finds_itself(means).sum())
        if found < LEAST_FOUND * len(means):
            warnings.warn(
                f"by dot product only {found} of {len(means)} class means are most "
                f"similar to themselves (by cosine {int(finds_itself(F.normalize(means)).sum())}), "
                f"because long ones win everywhere; pass {option('strategy.similarity', 'cosine')}",
                stacklevel=2,
            )


def finds_itself(means: Tensor) -> Tensor:
    """Return whether no class's mean has a larger dot product with a mean than itself, `(n,)`.

    Example:
        >>> finds_itself(torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 1.0]])).tolist()
        [False, True, True]
    """
    products = means @ means.T
    return products.diagonal() >= products.amax(1)


def draw_episode(
    labels: Tensor,
    generator: torch.Generator | None = None,
    *,
    way: int,
    shots: int,
    queries: int,
) -> FakeSession:
    """Return an episode: support rows `(way, shots)`, query rows `(way * queries,)` by class.

    A class with too few images repeats some of them. Support and query share an image only if the
    class has a single one.

    Args:
        labels: `(n,)` the class of each image, numbered from 0 without gaps.
        generator: source of the draws; None: torch's global one.
        way: number of classes; all of them if there are fewer.
    """
    num_classes = int(labels.max()) + 1
    drawn = torch.randperm(num_classes, generator=generator)[:way]
    support, query = [], []
    for class_id in drawn:
        rows = (labels == class_id).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        num_support = max(1, min(shots, len(rows) - 1))
        rest = rows[num_support:] if len(rows) > 1 else rows
        support.append(rows[torch.arange(shots) % num_support])
        query.append(rest[torch.arange(queries) % len(rest)])
    return FakeSession(torch.stack(support), torch.cat(query), drawn[None])


def episode_loss(
    features: Tensor,
    way: int,
    shots: int,
    similarity: Similarity = "dot",
    temperature: float = 16.0,
) -> Tensor:
    """Return the mean cross-entropy of an episode's queries.

    Args:
        features: `(way * shots + way * queries, dim)`, first of the support, class by class, then
            of the queries, class by class.
        temperature: factor on cosines.
    """
    support, query = features[: way * shots], features[way * shots :]
    prototypes = support.view(way, shots, -1).mean(1)
    labels = torch.arange(way, device=features.device).repeat_interleave(len(query) // way)
    return F.cross_entropy(similarities(query, prototypes, similarity, temperature), labels)


def similarities(
    query: Tensor, prototypes: Tensor, similarity: Similarity = "dot", temperature: float = 16.0
) -> Tensor:
    """Return the similarity `(n, classes)` of queries `(n, dim)` to prototypes `(classes, dim)`."""
    if similarity == "cosine":
        return temperature * F.normalize(query) @ F.normalize(prototypes).T
    if similarity == "euclid":
        return -(torch.cdist(query, prototypes, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
    return query @ prototypes.T
