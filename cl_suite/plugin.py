"""Base class of the suite's strategies: a duck-typed Avalanche plugin that saves its state.

It does not import Avalanche: the library calls any object that has the right method names.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from cl_suite.avalanche.loader import PLAIN_BATCHES, batches, memory_of, serves
from cl_suite.avalanche.template import Template, needs_task_labels
from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError
from cl_suite.features.source import session_features, session_stats
from cl_suite.features.stats import ClassStats
from cl_suite.models.classifier import Classifier
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.learned_columns import refuse_infinite
from cl_suite.parameters import Above, Parameters, Within
from cl_suite.requirements import KINDS, BatchLayout, Requirements, requirements_of

__all__ = [
    "Above",
    "BatchLayout",
    "Requirements",
    "StrategyPlugin",
    "Template",
    "Within",
    "answers_of",
    "plain_of",
    "requirements_of",
    "rows_of",
    "session_classes",
    "session_features",
    "session_stats",
    "views_of",
    "warn_of_one_view",
]


class StrategyPlugin(Parameters):
    """A method as a plugin: its dataclass fields are parameters, its callbacks learn.

    A subclass is a dataclass with `kw_only=True` and `eq=False`. Its parameters are checked against
    their annotations when it is made. Learned state is kept in attributes whose names end in an
    underscore; checkpoints save these.

    Attributes:
        requirements: what the method needs from stream, model and settings; a property if it
            depends on parameters.
        default_config: the recipe of a method in a package of its own, by section as in a YAML
            file, such as `{"training": {"base_epochs": 10, "incremental_epochs": 0}}`.

    Raises:
        UserError: if a parameter has a value that its annotation does not allow.
    """

    requirements: Requirements = Requirements()
    # no annotation: jsonargparse would look up its words in the modules of the subclasses
    default_config = cast("Mapping[str, Any]", {})

    @property
    def runs_network(self) -> bool:
        """Whether the plugin runs the network itself, which it does without task labels."""
        return False

    def extra_epochs(self, session: int) -> int:
        """Return how many epochs the method adds to a session, after the recipe's.

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
        """Add the method's trainable parts (adapters, prompts) to the network.

        The engine calls it before it makes an optimiser. A second call on a prepared network
        must change nothing. The structure may depend only on parameters: a checkpoint's tensors
        are loaded after it.
        """

    def first_changed_block(self, model: nn.Module) -> int:
        """Return the first block (see `stages.cut`) that the method adapts or trains; 0: unknown.

        The blocks before it compute the same in the whole run. It is asked before `prepare_model`.
        """
        return 0

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        """Raise `UserError`, before any training, if the method cannot learn from a stream.

        Args:
            info: facts about its stream; a stream of features if they are computed once.
            session_sizes: number of training samples of each session.
        """

    def before_training(self, template: Template, **kwargs: Any) -> None:
        if self.runs_network and needs_task_labels(template.model):
            raise UserError(
                f"{type(self).__name__} runs the network itself, without the task labels that "
                f"{type(template.model).__name__} needs; choose a network that takes inputs alone, "
                "such as SimpleMLP, or a plugin that trains by Avalanche's pass, such as ERPlugin"
            )
        self.prepare_model(template.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the learned state: every attribute whose name ends in an underscore.

        Tensors, plain values, containers of them, networks and data sets of the suite are saved
        unchanged. Class statistics and anything else with a `state_dict` are saved as that.
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
        self._refuse_known_classes(template)
        # before the template gathers the parameters for its optimiser
        needs = requirements_of(self)
        if needs.classifier and isinstance(template.model, Classifier):
            template.model.head.grow(session_classes(template))
            if needs.all_rows:
                template.model.head.grow(range(template.model.head.num_outputs))
            refuse_infinite(getattr(template, "_criterion", None), template.model.head)

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
                # a host's, if this is a wrapper
                memory=memory_of(template.dataloader),
            )

    def before_eval_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        # columns without rows: the template computes a loss on classes that were never learned
        if isinstance(template.model, Classifier):
            template.model.head.widen(max(session_classes(template), default=-1) + 1)

    def _refuse_known_classes(self, template: Template) -> None:
        """Raise `UserError` if a method of new classes is given more data of earlier ones.

        The suite checks its streams before it runs them; a program has nobody else to say it.
        """
        if requirements_of(self).kinds != ("class",):
            return
        session = template.clock.train_exp_counter
        for class_id in session_classes(template):
            if self._first_session.setdefault(class_id, session) != session:
                raise UserError(
                    f"{type(self).__name__} learns only from {KINDS['class']}, but session "
                    f"{session} brings class {class_id} of session "
                    f"{self._first_session[class_id]} again; choose a plugin that accepts more "
                    "data of known classes, such as ERPlugin, or join the sessions of a class"
                )

    @functools.cached_property
    def _first_session(self) -> dict[int, int]:
        """The session in which this object met each class; not part of the learned state."""
        return {}


def session_classes(template: Template) -> list[int]:
    """Return the class ids of the current session, ascending.

    Experiences without a classes timeline, such as those of `benchmark_from_datasets` and
    `split_online_stream`, have them in their data alone.
    """
    experience = template.experience
    found = getattr(experience, "classes_in_this_experience", None)
    if found is None:
        targets = experience.dataset.targets
        found = getattr(targets, "uniques", targets)
    return sorted({int(class_id) for class_id in found} - {UNLABELLED})


def answers_of(plugin: Any) -> StrategyPlugin:
    """Return what answers for a plugin: itself, or the defaults for one of another library."""
    return plugin if isinstance(plugin, StrategyPlugin) else StrategyPlugin()


def views_of(template: Template, plugin: StrategyPlugin) -> list[Tensor]:
    """Return the requested views of the current batch, one tensor `(batch, ...)` each."""
    return [template.mb_x, *template.mbatch[2 : 1 + _layout(template, plugin).views]]


def warn_of_one_view(first: Tensor, second: Tensor, name: str, remedy: str) -> None:
    """Warn if the two views of a batch are the same.

    Args:
        name: the method's name.
        remedy: an alternative to augmenting the training samples.
    """
    if first.equal(second):
        warnings.warn(
            f"{name}: both views of each sample are the same, because the training transform "
            f"is not random; augment the training samples, or {remedy}",
            # the plugin's own line: warnings from Avalanche's files are dropped
            stacklevel=2,
        )


def plain_of(template: Template, plugin: StrategyPlugin) -> Tensor:
    """Return the current batch under the evaluation transform, `(batch, ...)`."""
    return template.mbatch[1 + _layout(template, plugin).views]


def rows_of(template: Template, plugin: StrategyPlugin) -> Tensor:
    """Return the current batch's rows `(batch,)` in `template.adapted_dataset`."""
    layout = _layout(template, plugin)
    # task labels, if the data has them, come after the rows
    return template.mbatch[1 + layout.views + layout.plain]


def _layout(template: Template, plugin: StrategyPlugin) -> BatchLayout:
    # a wrapper's loader may hold more than its host asks for
    found = getattr(template.dataloader, "layout", None)
    return found if isinstance(found, BatchLayout) else requirements_of(plugin).batch


STATISTICS = "class statistics"  # marks them in a saved state


def _saved(value: Any) -> Any:
    if isinstance(value, ClassStats):
        return {STATISTICS: value.state_dict()}
    # a network is saved whole: checkpoints can rebuild it even if a fresh plugin has none yet
    if isinstance(value, nn.Module) or not hasattr(value, "state_dict"):
        return value
    return value.state_dict()


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {STATISTICS}:
        return ClassStats.from_state_dict(value[STATISTICS])
    return value
