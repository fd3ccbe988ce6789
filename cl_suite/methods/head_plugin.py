"""Base class for strategies that train in the base session and then only write head rows.

A strategy whose rows follow from class statistics also states this rule by itself, without a
template: `set_up`, `averaged`, `class_vectors`, and for second moments `pooled_share` and `solve`.
`cl_suite.Learner` applies it to a finished model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from cl_suite.features.stats import ClassStats
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.modes import evaluating
from cl_suite.plugin import (
    Requirements,
    StrategyPlugin,
    Template,
    session_classes,
    session_features,
)


@dataclass(frozen=True, eq=False)
class StatedRule:
    """A rule that follows from class statistics, as a trained strategy states it.

    Attributes:
        strategy: the name under which it is registered.
        parameters: of that strategy.
        plugin: it, trained.
        head: what it wrote.
        note: a sentence if it is not all of the strategy that states it, else "".
    """

    strategy: str
    parameters: Mapping[str, Any]
    plugin: HeadPlugin
    head: ClassHead
    note: str = ""


@dataclass(kw_only=True, eq=False)
class HeadPlugin(StrategyPlugin):
    """Train in the first session only; after every session, compute head rows from its features.

    The first session it sees is the base session. With our `Classifier` the rows go into its head.
    With any other network, or another kind of head, the plugin keeps its own head on the network's
    features (for a foreign network: the input of its last linear layer). In evaluation the scores
    of this head replace the network's output.
    """

    base_classes_: list[int] = field(default_factory=list, init=False)
    own_head_: ClassHead | None = field(default=None, init=False)
    own_dim_: int = field(default=0, init=False)  # width of the features that `own_head_` scores

    # the row of a class is computed once; see `returning_classes` for rules that can do more
    requirements = Requirements(rewrites_rows=True, kinds=("class",))

    @property
    def runs_network(self) -> bool:
        return True

    # names of what `set_up` fits, besides the head's transform
    fitted: ClassVar[tuple[str, ...]] = ()
    # whether more than the recipe's cross-entropy trains the network
    trains_network: ClassVar[bool] = False

    def learn(self, template: Template, head: ClassHead) -> list[int]:
        """Compute head rows from the session's training data; return the session's classes.

        `base_classes_` is empty in the base session.
        """
        raise NotImplementedError

    @property
    def has_rule(self) -> bool:
        """Whether rows follow from class statistics, by the methods below."""
        return False

    @property
    def pools_moments(self) -> bool:
        """Whether the rule needs second moments too: `pooled_share` and `solve`."""
        return False

    @property
    def needs_base(self) -> bool:
        """Whether the rule means nothing before `set_up`."""
        return False

    def stated_rule(self, head: ClassHead) -> StatedRule | None:
        """Return the rule inside, of a trained strategy that rests on others' rules; None if none.

        Args:
            head: the strategy's.
        """
        return None

    @property
    def offset(self) -> float:
        """Added to the scores of classes after the base session, in units of the head's keys."""
        return 0.0

    def set_up(self, head: ClassHead, features: Tensor, labels: Tensor) -> None:
        """Fit what stays fixed after the base session, such as a whitening.

        Args:
            features, labels: the base session's, `(n, dim)` and `(n,)`.
        """

    def averaged(self, head: ClassHead, features: Tensor) -> Tensor:
        """Return what a class's statistics are made of, `(n, width)`, of features `(n, dim)`."""
        return features

    def class_vectors(self, stats: ClassStats, head: ClassHead) -> Tensor:
        """Return the rows `(num_new, width)` to write for the classes of `stats`.

        Args:
            stats: sums of what `averaged` returned.
            head: holds the rows of the base classes, unless these are to be computed
                (`base_classes_` is empty).
        """
        raise NotImplementedError

    def set_base(self, stats: ClassStats) -> None:
        """Take the base classes from their statistics (without second moments)."""
        self.base_classes_ = stats.classes

    def pooled_share(self, stats: ClassStats) -> Tensor:
        """Return what one class adds to the pooled matrix, `(width, width)` in float64.

        Args:
            stats: of one class, with its full second moments.
        """
        raise NotImplementedError

    def solve(self, head: ClassHead, pooled: Tensor, freedom: float) -> None:
        """Fit the head to the pooled matrix.

        Args:
            freedom: number of samples less the number of classes.
        """
        raise NotImplementedError

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self.base_classes_:
            template.stop_training()

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        classes = self.learn(template, self._head(template))
        if not self.base_classes_:
            self.base_classes_ = classes

    def after_eval_forward(self, template: Template, **kwargs: Any) -> None:
        if self.own_head_ is None:
            return
        with evaluating(template.model):
            features = feature_function(template.model)(template.mb_x)
        self.own_head_.widen(max(session_classes(template)) + 1)
        template.mb_output = self.own_head_.to(features.device)(features)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        head = self.own_head_
        # a network is saved by its tensors
        state["own_head_"] = None if head is None else dict(head.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({k: v for k, v in state.items() if k != "own_head_"})
        self.own_head_ = None
        if (own := state["own_head_"]) is not None:
            self.own_head_ = self._new_head(self.own_dim_)
            self.own_head_.load_state_dict(own)

    def _head(self, template: Template) -> ClassHead:
        model = template.model
        if self.own_head_ is None:
            if isinstance(model, Classifier):
                own = self._new_head(model.feature_dim)
                if isinstance(model.head, type(own)) and (
                    own.transform is None or model.head.transform is not None
                ):
                    return model.head
            features, _ = session_features(template)
            self.own_dim_ = features.shape[1]
            self.own_head_ = self._new_head(self.own_dim_).to(features.device)
        return self.own_head_

    def _new_head(self, dim: int) -> ClassHead:
        head = self.make_head(dim, 0, 16.0) or CosineHead(dim)
        return head.requires_grad_(False)
