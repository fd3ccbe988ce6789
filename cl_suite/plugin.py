"""Base of our strategies: a duck-typed Avalanche plugin with learned state that can be saved.

It imports no Avalanche: the library calls any object that has the right method names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cl_suite.avalanche.loader import batches
from cl_suite.data.cut import check_choice
from cl_suite.data.stream import Kind, Modality, StreamInfo
from cl_suite.errors import UserError
from cl_suite.features.stats import ClassStats, Covariance, class_stats, extract, unit
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.modes import evaluating

Strategy = Any  # an Avalanche template; the library's own type needs seconds to import


class StrategyPlugin:
    """A method as a plugin: the constructor stores parameters, callbacks learn.

    Class attributes state what the method needs, so that bad input is refused before training:
        head: the head its classifier must have, None for any or for one of its own.
        bounds: lowest and highest value of its numeric parameters, by name.
        choices: the words that a parameter may be, by name.
        needs_text: whether its backbone must have a text tower.
        adapts_backbone: whether it puts adapters or prompts of its own into the backbone.
        rewrites_rows: whether it throws the classifier's trained rows away, so that training
            serves the backbone alone; where that is frozen there is nothing to train.
        keeps_base_state: whether it keeps more of its base session's training than weights, so that
            it cannot begin after another run's.
        has_classifier: False where it learns features alone; a run is then measured by probes.
        needs_labels: False where it works on data without labels; the engine then shows it none.
        needs_task: whether it can only predict where a sample's session is told.
        kinds: what sessions may bring: new classes, or more data or another domain of the same.
        modalities: what samples may be.

    What a training batch holds beside inputs and class ids (see `views_of`); these may be
    properties where they depend on parameters:
        batch_views: how often each sample is transformed.
        plain_view: whether one more view, by the evaluation transform, comes along.
        row_numbers: whether the samples' places in `strategy.adapted_dataset` come along.
        smallest_batch: samples without which a batch is of no use; a smaller last one is left out.
    """

    head: ClassVar[str | None] = None
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs_text: ClassVar[bool] = False
    adapts_backbone: ClassVar[bool] = False
    rewrites_rows: ClassVar[bool] = False
    keeps_base_state: ClassVar[bool] = False
    has_classifier: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = True
    needs_task: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("class", "data", "domain", "mixed")
    modalities: ClassVar[tuple[Modality, ...]] = ("image", "audio")

    @property
    def batch_views(self) -> int:
        """How often each sample of a training batch is transformed."""
        return 1

    @property
    def plain_view(self) -> bool:
        """Whether a training batch has a view by the evaluation transform too."""
        return False

    @property
    def row_numbers(self) -> bool:
        """Whether a training batch says where its samples stand in the data."""
        return False

    @property
    def smallest_batch(self) -> int:
        """Samples that a training batch must have."""
        return 1

    def extra_epochs(self, session: int) -> int:
        """Return how many epochs of its own the method adds to a session, behind the recipe's.

        They are trained even where the base session comes from another run. The engine's schedule
        has no part in them.
        """
        return 0

    def kept_data(self) -> tuple[int, int]:
        """Return how many samples are kept for later sessions, and their bytes.

        Avalanche data sets need not be counted here: the engine finds them in the state.
        """
        return 0, 0

    def session_note(self, session: int) -> str:
        """Return a line about the session just learned, the strategy's name before it; "" for none.

        Such as what the method has chosen by itself.
        """
        return ""

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead | None:
        """Return the method's own head for features of width `dim`, None for the user's choice.

        Args:
            num_classes: columns of the output.
            temperature: factor on cosines.
        """
        return None

    def prepare_model(self, model: nn.Module) -> None:
        """Give the network what the method trains (adapters, prompts), before any optimiser is.

        Called again on a prepared network, it must change nothing. The structure may depend on
        parameters alone: a checkpoint's tensors are loaded after it.
        """

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        """Raise `UserError` if the method cannot learn from a stream; before anything is trained.

        Args:
            info: of the stream that it will see, of features where they are computed once.
            session_sizes: training samples of each session.
        """

    def before_training(self, strategy: Strategy, **kwargs: Any) -> None:
        check_bounds(self)
        # the command line has looked at the types; a program may have passed anything
        for name, words in self.choices.items():
            check_choice(f"--strategy.{name}", getattr(self, name), words)
        self.prepare_model(strategy.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the learned state: every attribute whose name ends in an underscore.

        Tensors, plain values, containers of them and data sets of the suite can be saved; override
        this pair for anything else, such as networks.
        """
        return {name: value for name, value in vars(self).items() if name.endswith("_")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        vars(self).update(state)

    def before_train_dataset_adaptation(self, strategy: Strategy, **kwargs: Any) -> None:
        # before the template gathers the parameters for its optimiser
        if self.has_classifier and isinstance(strategy.model, Classifier):
            strategy.model.head.grow(sorted(strategy.experience.classes_in_this_experience))

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        usual = (self.batch_views, self.plain_view, self.row_numbers, self.smallest_batch)
        if usual != (1, False, False, 1):
            strategy.dataloader = batches(
                strategy.adapted_dataset,
                strategy.train_mb_size,
                shuffle=True,
                num_workers=getattr(strategy.dataloader, "num_workers", 0),
                views=self.batch_views,
                plain=self.plain_view,
                rows=self.row_numbers,
                smallest=self.smallest_batch,
            )

    def before_eval_dataset_adaptation(self, strategy: Strategy, **kwargs: Any) -> None:
        # columns without rows: the template computes a loss on classes that were never learned
        if isinstance(strategy.model, Classifier):
            strategy.model.head.widen(max(strategy.experience.classes_in_this_experience) + 1)


def views_of(strategy: Strategy, plugin: StrategyPlugin) -> list[Tensor]:
    """Return the views of the batch under way, `batch_views` tensors `(batch, ...)`."""
    return [strategy.mb_x, *strategy.mbatch[2 : 1 + plugin.batch_views]]


def plain_of(strategy: Strategy, plugin: StrategyPlugin) -> Tensor:
    """Return the batch under way by the evaluation transform, `(batch, ...)`."""
    plain: Tensor = strategy.mbatch[1 + plugin.batch_views]
    return plain


def rows_of(strategy: Strategy, plugin: StrategyPlugin) -> Tensor:
    """Return the places `(batch,)` of the batch under way in `strategy.adapted_dataset`."""
    rows: Tensor = strategy.mbatch[-1]
    return rows


def check_bounds(plugin: Any, bounds: Mapping[str, Sequence[float]] | None = None) -> None:
    """Raise `UserError` if a parameter lies outside `bounds`, those of its class by default."""
    for name, (low, high) in (getattr(plugin, "bounds", {}) if bounds is None else bounds).items():
        value = getattr(plugin, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"--strategy.{name} must be a number, got '{value}'")
        if not low <= value <= high:
            wanted = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
            raise UserError(f"--strategy.{name} must be {wanted}, got {value}")


def session_features(strategy: Strategy) -> tuple[Tensor, Tensor]:
    """Return features `(n, dim)` and labels `(n,)` of the current session's training data.

    Evaluation transform and eval mode; the model's mode is left as it was. After a session's
    training one pass serves all who ask.
    """
    cache: dict[str, Any] = getattr(strategy, "session_cache", {})
    if "features" not in cache:
        data = strategy.experience.dataset.eval()
        with evaluating(strategy.model), torch.no_grad():
            cache["features"] = extract(
                feature_function(strategy.model),
                batches(data, strategy.eval_mb_size),
                device=strategy.device,
            )
    found: tuple[Tensor, Tensor] = cache["features"]
    return found


def session_stats(
    strategy: Strategy, *, normalize: bool = False, kind: Covariance = "none"
) -> ClassStats:
    """Return the class statistics of the current session's training data.

    Args:
        normalize: of features scaled to unit length.
        kind: second moments to collect besides the means.
    """
    cache: dict[str, Any] = getattr(strategy, "session_cache", {})
    plain = not normalize and kind == "none"
    if plain and "stats" in cache:
        # the base session's may travel with its artefact
        known: ClassStats = cache["stats"]
        return known
    features, labels = session_features(strategy)
    stats = class_stats(unit(features) if normalize else features, labels, kind=kind)
    if plain:
        cache["stats"] = stats
    return stats
