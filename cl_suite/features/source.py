"""Features and class statistics of a session, computed once for each state of the backbone.

They come from three places: the feature bank, whose streams hold features instead of images; a base
session from another run, which brings its class statistics; or a pass of the network over the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cl_suite.avalanche.loader import batches
from cl_suite.avalanche.template import Template
from cl_suite.errors import UserError, option
from cl_suite.features.stats import ClassStats, Covariance, class_stats, unit
from cl_suite.models.classifier import Classifier
from cl_suite.models.digest import state_digest
from cl_suite.models.features import feature_function
from cl_suite.models.modes import evaluating

Part = Literal["train", "test"]
Batches = list[list[Tensor]]  # of [features (batch, dim), class ids (batch,)]
Data = Callable[[int, Part], Any]  # maps a session and a part to an Avalanche data set


class FeatureSource:
    """Features of sessions' data, computed once in eval mode with the evaluation transform.

    Args:
        model: the network; if it is foreign, a feature is the input of its last linear layer.
        data: returns a session's data, with the evaluation transform active.
        batch_size, num_workers: settings of the forward passes.

    Attributes:
        digest: of the backbone as the last call of a method found it.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        *,
        batch_size: int,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model = model
        self.data = data
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = torch.device(device)
        self._batches: dict[tuple[int, Part], Batches] = {}
        self._stats: dict[int, ClassStats] = {}
        self.digest = b""

    def batches(self, sessions: Iterable[int], part: Part = "train") -> list[Batches]:
        """Return the batches of features of each of these sessions.

        A batch never spans sessions, so features do not depend on the sessions computed before.
        """
        self.backbone_digest()
        return [self._batches_of(session, part) for session in sessions]

    def features(self, session: int, part: Part = "train") -> tuple[Tensor, Tensor]:
        """Return features `(n, dim)` and class ids `(n,)` of a session's data."""
        self.backbone_digest()
        return self._features(session, part)

    def stats(
        self, session: int, *, normalize: bool = False, kind: Covariance = "none"
    ) -> ClassStats:
        """Return the class statistics of a session's training data.

        Args:
            normalize: scale the features to unit length first.
            kind: second moments to collect in addition to the means.
        """
        self.backbone_digest()
        if normalize or kind != "none":
            features, labels = self._features(session)
            return class_stats(unit(features) if normalize else features, labels, kind=kind)
        if session not in self._stats:
            self._stats[session] = class_stats(*self._features(session))
        return self._stats[session]

    def known_stats(self, session: int) -> ClassStats | None:
        """Return a session's plain statistics if they were computed before, else None."""
        self.backbone_digest()
        return self._stats.get(session)

    def known_features(self, session: int) -> Tensor | None:
        """Return features `(n, dim)` of a session's training data if they were computed before."""
        if (session, "train") not in self._batches:
            return None
        self.backbone_digest()
        found = self._batches.get((session, "train"))
        return torch.cat([batch[0] for batch in found]) if found else None

    def put_stats(self, session: int, stats: ClassStats) -> None:
        """Store a session's plain statistics; they must belong to the present backbone."""
        self.backbone_digest()
        self._stats[session] = stats

    def take_over(self, other: FeatureSource, session: int) -> None:
        """Reuse another source's features of a session's training data if the backbone is equal."""
        if other.digest == self.backbone_digest() and (session, "train") in other._batches:
            self._batches[session, "train"] = other._batches[session, "train"]

    def backbone_digest(self) -> bytes:
        """Return a digest of the present backbone; drop features and statistics of any other."""
        digest = _digest(self.model)
        if digest != self.digest:
            self._batches, self._stats, self.digest = {}, {}, digest
        return digest

    # these two rely on the caller's check of the backbone, which reads every weight

    def _batches_of(self, session: int, part: Part) -> Batches:
        if (session, part) not in self._batches:
            self._batches[session, part] = self._compute(session, part)
        return self._batches[session, part]

    def _features(self, session: int, part: Part = "train") -> tuple[Tensor, Tensor]:
        found = self._batches_of(session, part)
        return torch.cat([batch[0] for batch in found]), torch.cat([batch[1] for batch in found])

    @torch.no_grad()
    def _compute(self, session: int, part: Part) -> Batches:
        data = self.data(session, part)
        if not len(data):
            return []
        loader = batches(data, self.batch_size, num_workers=self.num_workers)
        with evaluating(self.model):
            features = feature_function(self.model)
            return [
                [features(batch[0].to(self.device)), batch[1].to(self.device)] for batch in loader
            ]


def session_features(template: Template) -> tuple[Tensor, Tensor]:
    """Return features `(n, dim)` and labels `(n,)` of the current session's training data.

    They use the evaluation transform and eval mode; the model's mode is restored. In the suite, one
    pass serves all callers until the backbone changes.
    """
    features, labels = _source(template).features(template.experience.current_experience)
    _refuse_infinite(features)
    return features, labels


def session_stats(
    template: Template, *, normalize: bool = False, kind: Covariance = "none"
) -> ClassStats:
    """Return the class statistics of the current session's training data.

    Args:
        normalize: scale the features to unit length first.
        kind: second moments to collect in addition to the means.
    """
    session = template.experience.current_experience
    stats = _source(template).stats(session, normalize=normalize, kind=kind)
    _refuse_infinite(stats.total)
    return stats


def _refuse_infinite(values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise UserError(
            "the network's features are not finite, because training diverged; lower the learning "
            f"rate ({option('training.lr')})"
        )


def own_session(template: Template) -> FeatureSource:
    """Return a source of the current session's training data alone."""
    data = template.experience.dataset.eval()
    return FeatureSource(
        template.model,
        lambda session, part: data,
        batch_size=template.eval_mb_size,
        num_workers=getattr(template.dataloader, "num_workers", 0),
        device=template.device,
    )


def _source(template: Template) -> FeatureSource:
    # the engine sets one for the session; in a user's own program each call is a pass
    found: FeatureSource = getattr(template, "feature_source", None) or own_session(template)
    return found


def _digest(model: nn.Module) -> bytes:
    """Return a digest of the part that computes features."""
    if not isinstance(model, Classifier):
        return state_digest(model)
    backbone = model.backbone
    # features that are already computed depend on no tensor
    return b"passed by" if backbone.is_passed_by else state_digest(backbone)
