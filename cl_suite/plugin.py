"""Base of the suite's strategies: a duck-typed Avalanche plugin with learned state to save.

It imports no Avalanche: the library calls any object that has the right method names.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cl_suite.avalanche.loader import PLAIN_BATCHES, batches, serves
from cl_suite.avalanche.template import Template
from cl_suite.data.stream import StreamInfo
from cl_suite.features.source import session_features, session_stats
from cl_suite.features.stats import ClassStats
from cl_suite.models.classifier import Classifier
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.parameters import Above, Parameters, Within
from cl_suite.requirements import BatchLayout, Requirements, requirements_of

__all__ = [
    "Above",
    "BatchLayout",
    "Requirements",
    "StrategyPlugin",
    "Template",
    "Within",
    "plain_of",
    "requirements_of",
    "rows_of",
    "session_features",
    "session_stats",
    "views_of",
    "warn_of_one_view",
]


class StrategyPlugin(Parameters):
    """A method as a plugin: dataclass fields are its parameters, callbacks learn.

    A subclass is a dataclass with `kw_only=True` and `eq=False`. Its parameters are checked against
    their annotations when it is made. What it learns is kept in attributes whose names end in an
    underscore, which checkpoints hold.

    Attributes:
        requirements: what the method needs of stream, model and settings; a property if it depends
            on parameters.

    Raises:
        UserError: if a parameter has a value that its annotation does not allow.
    """

    requirements: Requirements = Requirements()

    def extra_epochs(self, session: int) -> int:
        """Return how many epochs of its own the method adds to a session, after the recipe's.

        They are trained even if the base session comes from another run. The engine's schedule
        does not cover them.
        """
        return 0

    def kept_data(self) -> tuple[int, int]:
        """Return how many samples are kept for later sessions, and their bytes.

        Avalanche data sets need not be counted here: the engine finds them in the state.
        """
        return 0, 0

    def session_note(self, session: int) -> str:
        """Return a line about the session just learned, such as what the method chose; "" for none.

        The strategy's name is printed before it.
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
        """Add what the method trains (adapters, prompts) to the network, before any optimiser is.

        Called again on a prepared network, it must change nothing. The structure may depend only
        on parameters: a checkpoint's tensors are loaded after it.
        """

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        """Raise `UserError` if the method cannot learn from a stream; before anything is trained.

        Args:
            info: of the stream that it will see, of features where they are computed once.
            session_sizes: training samples of each session.
        """

    def before_training(self, template: Template, **kwargs: Any) -> None:
        self.prepare_model(template.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the learned state: every attribute whose name ends in an underscore.

        Tensors, plain values, containers of them, networks and data sets of the suite are saved as
        they are, class statistics and anything else with a `state_dict` as that.
        """
        learned = {name: value for name, value in vars(self).items() if name.endswith("_")}
        return {name: _saved(value) for name, value in learned.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, into the objects that a fresh plugin has."""
        for name, value in state.items():
            own = getattr(self, name, None)
            loads = hasattr(own, "load_state_dict") and not isinstance(own, nn.Module)
            if own is not None and loads:
                own.load_state_dict(value)
            else:
                setattr(self, name, _restored(value))

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        # before the template gathers the parameters for its optimiser
        if requirements_of(self).classifier and isinstance(template.model, Classifier):
            template.model.head.grow(sorted(template.experience.classes_in_this_experience))

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        # the suite's engine has made this loader already; a program's template has not
        layout, data = requirements_of(self).batch, template.adapted_dataset
        if layout != PLAIN_BATCHES and not serves(template.dataloader, data, layout):
            template.dataloader = batches(
                data,
                template.train_mb_size,
                shuffle=True,
                num_workers=getattr(template.dataloader, "num_workers", 0),
                layout=layout,
            )

    def before_eval_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        # columns without rows: the template computes a loss on classes that were never learned
        if isinstance(template.model, Classifier):
            template.model.head.widen(max(template.experience.classes_in_this_experience) + 1)


def views_of(template: Template, plugin: StrategyPlugin) -> list[Tensor]:
    """Return the views of the batch under way, as many tensors `(batch, ...)` as were asked for."""
    return [template.mb_x, *template.mbatch[2 : 1 + requirements_of(plugin).batch.views]]


def warn_of_one_view(first: Tensor, second: Tensor, name: str, remedy: str) -> None:
    """Warn if the two views of a batch are the same.

    Args:
        name: the method's.
        remedy: what else helps than augmenting the training samples.
    """
    if first.equal(second):
        warnings.warn(
            f"{name}: both views of each sample are the same, as the training transform is not "
            f"random; augment the training samples, or {remedy}",
            # the plugin's own line: warnings from Avalanche's files are dropped
            stacklevel=2,
        )


def plain_of(template: Template, plugin: StrategyPlugin) -> Tensor:
    """Return the batch under way by the evaluation transform, `(batch, ...)`."""
    return template.mbatch[1 + requirements_of(plugin).batch.views]


def rows_of(template: Template, plugin: StrategyPlugin) -> Tensor:
    """Return the rows `(batch,)` of the batch under way in `template.adapted_dataset`."""
    return template.mbatch[-1]


STATISTICS = "class statistics"  # marks them in a saved state


def _saved(value: Any) -> Any:
    if isinstance(value, ClassStats):
        return {STATISTICS: value.state_dict()}
    # a network as it is: checkpoints can make one again even if a fresh plugin has none yet
    if isinstance(value, nn.Module) or not hasattr(value, "state_dict"):
        return value
    return value.state_dict()


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {STATISTICS}:
        return ClassStats.from_state_dict(value[STATISTICS])
    return value
