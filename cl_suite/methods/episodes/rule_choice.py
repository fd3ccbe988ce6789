"""Compares head rules on fake streams: each is run as it is, on features alone.

A rule is a strategy that makes its rows from features. It learns the fake base session and then all
fake new classes, with the parameters that it has chosen, and scores the held-out images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cl_suite.features.stats import ClassStats, Covariance, class_stats, unit
from cl_suite.methods.episodes.tuning import FakeTask, fake_figures
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead, CosineHead


@dataclass(frozen=True)
class GivenFeatures:
    """Answers as a `FeatureSource` does, from features `(n, dim)` and class ids `(n,)` at hand."""

    given: Tensor
    labels: Tensor

    def features(self, session: int, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return the features and class ids, whatever the session."""
        return self.given, self.labels

    def stats(
        self, session: int, *, normalize: bool = False, kind: Covariance = "none"
    ) -> ClassStats:
        """Return their class statistics; see `FeatureSource.stats`."""
        features = unit(self.given) if normalize else self.given
        return class_stats(features, self.labels, kind=kind)


def learn_features(rule: HeadPlugin, head: ClassHead, features: Tensor, labels: Tensor) -> None:
    """Let a rule learn a session of features `(n, dim)` and class ids `(n,)` into its head."""
    template: Any = SimpleNamespace(
        feature_source=GivenFeatures(features, labels),
        experience=SimpleNamespace(current_experience=0),
    )
    classes = rule.learn(template, head)
    if not rule.base_classes_:
        rule.base_classes_ = classes


def settled_parameters(rule: HeadPlugin) -> dict[str, Any]:
    """Return a rule's parameters; what it has chosen stands in the place of null."""
    found = {f.name: getattr(rule, f.name) for f in fields(rule) if f.init}
    for name in rule.fitted:
        value = getattr(rule, name)
        found |= value if isinstance(value, dict) else {name.removesuffix("_"): value}
    return found


@torch.no_grad()
def fake_scores(rule: HeadPlugin, features: Tensor, labels: Tensor, task: FakeTask) -> Tensor:
    """Return a rule's scores `(num_test, num_base + num_new)` in a fake stream.

    Args:
        rule: one that has learned the base session; it stays as it is.
        features, labels: the base session's, `(n, dim)` and `(n,)`.
    """
    fresh = type(rule)(**settled_parameters(rule))
    dim = features.shape[1]
    head = (fresh.make_head(dim, 0, 16.0) or CosineHead(dim)).to(features.device)
    head.requires_grad_(False)
    # a row's first values are drawn; the user's random state is none of our business
    with torch.random.fork_rng(devices=[]):
        for rows in (task.train, task.shots):
            learn_features(fresh, head, features[rows], labels[rows])
    parts = torch.split(features[task.test], 1024)
    return torch.cat([head(part)[:, task.classes] for part in parts])


@dataclass(frozen=True)
class Comparison:
    """What rules reached on the same fake streams.

    Attributes:
        names: the rules.
        figures: `(num_rules, num_tasks, 2)`, see `fake_figures`; fractions.
        spreads: `(num_rules,)`, root mean square of a rule's scores about each image's mean.
    """

    names: list[str]
    figures: Tensor
    spreads: Tensor

    @property
    def behind(self) -> Tensor:
        """How far each rule's score is behind the best one's, and that gap's standard error.

        `(num_rules, 2)`. A score is the mean of the two figures; a gap is one of the same streams.
        """
        scores = self.figures.mean(2)
        gaps = scores[scores.mean(1).argmax()] - scores
        num = gaps.shape[1]
        # one stream tells no error
        errors = gaps.std(1) / num**0.5 if num > 1 else torch.zeros_like(gaps[:, 0])
        return torch.stack([gaps.mean(1), errors], dim=1)

    def level(self, errors: float) -> list[str]:
        """Return the best rule and all that are behind by at most so many standard errors."""
        gap, error = self.behind.unbind(1)
        near = gap <= errors * error
        return [name for name, is_near in zip(self.names, near.tolist(), strict=True) if is_near]

    def weights(self, names: Sequence[str]) -> dict[str, float]:
        """Return weights by which these rules' scores count alike; together they average them."""
        spread = dict(zip(self.names, self.spreads.tolist(), strict=True))
        return {name: 1 / (len(names) * max(spread[name], 1e-12)) for name in names}


def compare(
    rules: Mapping[str, HeadPlugin], features: Tensor, labels: Tensor, tasks: Sequence[FakeTask]
) -> Comparison:
    """Return what rules that have learned the base session reach on fake streams cut from it.

    Args:
        features, labels: the base session's, `(n, dim)` and `(n,)`.
        tasks: at least one.
    """
    figures, spreads = [], []
    for rule in rules.values():
        scores = [fake_scores(rule, features, labels, task) for task in tasks]
        figures.append(
            torch.cat([fake_figures(s, labels, t) for s, t in zip(scores, tasks, strict=True)])
        )
        spreads.append(torch.stack([_spread(part) for part in scores]).mean().cpu())
    return Comparison(list(rules), torch.stack(figures), torch.stack(spreads))


def _spread(scores: Tensor) -> Tensor:
    return (scores - scores.mean(1, keepdim=True)).square().mean().sqrt()
