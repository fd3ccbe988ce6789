"""A strategy's requirements: the record that states them, and checks of a run against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cl_suite.errors import option

if TYPE_CHECKING:  # `cl-suite list pairs` uses this module without torch, whose import is slow
    from cl_suite.data.stream import Kind, Modality, Stream

KINDS: Mapping[Kind, str] = {
    "class": "streams of new classes",
    "data": "streams that bring more data of the same classes",
    "domain": "streams that bring other domains of the same classes",
    "mixed": "streams that bring new classes and more data of earlier ones",
}
MODALITIES: Mapping[Modality, str] = {"image": "images", "audio": "sounds"}


@dataclass(frozen=True)
class BatchLayout:
    """A training batch's contents beyond inputs and class ids: `[x, y, views..., plain, rows]`.

    Attributes:
        views: number of transformed views per sample; all but the first follow the class ids.
        plain: True if one more view, by the evaluation transform, follows these.
        rows: True if the samples' rows in `template.adapted_dataset` come last.
        smallest: minimum usable batch size; a smaller final batch is dropped.
    """

    views: int = 1
    plain: bool = False
    rows: bool = False
    smallest: int = 1

    def covers(self, other: BatchLayout) -> bool:
        """Return whether batches of this layout serve a plugin that asks for another one.

        Example:
            >>> BatchLayout(plain=True, rows=True).covers(BatchLayout(rows=True))
            True
            >>> BatchLayout(views=2).covers(BatchLayout())
            False
        """
        return (
            self.views == other.views
            and self.plain >= other.plain
            and self.rows >= other.rows
            and self.smallest >= other.smallest
        )


@dataclass(frozen=True)
class Requirements:
    """What a strategy needs from stream, model and settings. The defaults fit any plugin.

    Attributes:
        kinds: kinds of streams that it accepts (see `StreamInfo.kind`).
        modalities: kinds of samples that it accepts.
        labels: False if the strategy learns without labels; the engine then withholds them.
        classifier: False if it learns features alone; probes then measure a run.
        session_told: True if it can predict only if it knows the session of each sample.
        head: the head that its classifier must use, None for any or for the strategy's own.
        text_tower: True if its backbone must read text.
        class_token: True if its backbone must be a vision transformer with a class token.
        own_adapters: True if it adds its own adapters or prompts to the backbone.
        all_rows: True if its classifier has a row for each class of the stream from the start,
            those to come included.
        rewrites_rows: True if it overwrites the classifier's trained rows, so training serves
            only the backbone; a frozen backbone then needs no training.
        carries_base_state: True if it carries more than weights out of the base session;
            `--start-from` is then refused.
        rate_auto: True if it tunes a pretrained backbone at the recipe's learning rate, which a
            run may then choose (`training.lr: auto`); the name of an option, if that sets the rate
            unless it is null.
        batch: contents of a training batch.
    """

    kinds: tuple[Kind, ...] = tuple(KINDS)
    modalities: tuple[Modality, ...] = tuple(MODALITIES)
    labels: bool = True
    classifier: bool = True
    session_told: bool = False
    head: str | None = None
    text_tower: bool = False
    class_token: bool = False
    own_adapters: bool = False
    all_rows: bool = False
    rewrites_rows: bool = False
    carries_base_state: bool = False
    rate_auto: bool | str = False
    batch: BatchLayout = BatchLayout()


def requirements_of(plugin: Any) -> Requirements:
    """Return what a plugin requires; the defaults if it states nothing, like Avalanche's."""
    found = getattr(plugin, "requirements", None)
    return found if isinstance(found, Requirements) else Requirements()


def misfit(requirements: Requirements, kind: Kind, modality: Modality) -> str | None:
    """Return why a strategy cannot learn from a stream of this kind, None if it can."""
    if kind not in requirements.kinds:
        return f"it learns only from {' and '.join(KINDS[k] for k in requirements.kinds)}"
    if modality not in requirements.modalities:
        known = " and ".join(MODALITIES[m] for m in requirements.modalities)
        return f"it learns only from {known}"
    return None


def does_not_run(scenario_name: str, reason: str) -> str:
    """Return the end of a sentence that begins with a strategy; `reason` is from `misfit`."""
    return (
        f"does not run on scenario '{scenario_name}': {reason}; `cl-suite list pairs` shows the "
        "pairs that run"
    )


class Settings(Protocol):
    """The settings of a run that are checked; `runs.config.RunConfig` has them."""

    @property
    def strategy_name(self) -> str: ...

    @property
    def scenario_name(self) -> str: ...

    @property
    def start_from(self) -> str | None: ...

    @property
    def scenario(self) -> Any: ...

    @property
    def model(self) -> Any: ...  # of packages above this one, as are the next two

    @property
    def training(self) -> Any: ...

    @property
    def evaluation(self) -> Any: ...


def unmet(requirements: Requirements, config: Settings) -> str | None:
    """Return a sentence for the first requirement that a run's settings do not meet, or None."""
    return _sentence(
        config,
        _unmet_by_model(requirements, config)
        or _unmet_by_training(requirements, config)
        or _unmet_by_evaluation(requirements, config),
    )


def unmet_by_stream(requirements: Requirements, config: Settings, stream: Stream) -> str | None:
    """Return a sentence for the first requirement that a run's data do not meet, or None."""
    return _sentence(
        config,
        _unmet_by_kind(requirements, config, stream) or _unmet_by_samples(requirements, stream),
    )


def _unmet_by_model(requirements: Requirements, config: Settings) -> str | None:
    model, needed = config.model, requirements.head
    if needed is not None and model.head != needed:
        return f"needs a {needed} head, got '{model.head}'; pass {option('model.head', needed)}"
    if requirements.text_tower and not model.backbone.startswith("clip:"):
        return (
            f"needs a backbone that reads text, got '{model.backbone}'; pass "
            f"{option('model.backbone', 'clip:openai/clip-vit-base-patch16')}"
        )
    if model.lora_rank and requirements.own_adapters:
        return (
            "adds its own adapters or prompts to the backbone; leave out "
            f"{option('model.lora_rank')}"
        )
    return None


def _unmet_by_training(requirements: Requirements, config: Settings) -> str | None:
    if config.start_from and requirements.carries_base_state:
        return (
            "carries more than weights out of its base session, so it cannot start from another "
            "run's; leave out --start-from"
        )
    if config.training.lr == "auto" and (problem := _unmet_by_rate(requirements, config)):
        return problem
    smallest = requirements.batch.smallest
    if config.training.batch_size < smallest:
        return (
            f"needs batches of {smallest} samples or more, got "
            f"{option('training.batch_size', config.training.batch_size)}; pass at least {smallest}"
        )
    return None


def _unmet_by_rate(requirements: Requirements, config: Settings) -> str | None:
    auto = option("training.lr", "auto")
    if not requirements.rate_auto:
        return (
            f"does not tune a pretrained backbone at the recipe's learning rate, so {auto} has "
            f"nothing to choose; pass a number, such as {option('training.lr', 0.01)}"
        )
    if isinstance(requirements.rate_auto, str):
        return (
            f"takes its learning rates from {option(requirements.rate_auto)}, so {auto} has "
            f"nothing to choose; pass {option(requirements.rate_auto, 'null')} too, or a number"
        )
    if config.start_from:
        return (
            f"takes its base session from another run, so {auto} has nothing to choose; pass a "
            "number, or leave out --start-from"
        )
    return None


def _unmet_by_evaluation(requirements: Requirements, config: Settings) -> str | None:
    if not requirements.classifier and not config.evaluation.probes:
        return (
            "learns no classifier, so a probe must measure it; pass "
            f"{option('evaluation.probes', ['linear', 'knn'])}"
        )
    if requirements.session_told and not config.evaluation.task_known:
        return (
            "predicts only if it knows a sample's session; pass "
            f"{option('evaluation.task_known', 'true')}"
        )
    return None


def unmet_by_scenario(requirements: Requirements, config: Settings) -> str | None:
    """Return why a strategy cannot run on a scenario, by what that says before it reads data."""
    kind = getattr(config.scenario, "kind", None)
    modality = getattr(config.scenario, "modality", None)
    # a scenario need not say either; its stream does
    known_kind, known_modality = requirements.kinds[0], requirements.modalities[0]
    reason = misfit(requirements, kind or known_kind, modality or known_modality)
    return None if reason is None else _sentence(config, does_not_run(config.scenario_name, reason))


def _sentence(config: Settings, problem: str | None) -> str | None:
    return None if problem is None else f"strategy '{config.strategy_name}' {problem}"


def _unmet_by_kind(requirements: Requirements, config: Settings, stream: Stream) -> str | None:
    reason = misfit(requirements, stream.info.kind, stream.info.modality)
    return None if reason is None else does_not_run(config.scenario_name, reason)


def _unmet_by_samples(requirements: Requirements, stream: Stream) -> str | None:
    smallest = requirements.batch.smallest
    for session, samples in enumerate(stream.train):
        if len(samples) < smallest:
            return (
                f"needs batches of {smallest} samples or more, but session {session} has "
                f"{len(samples)}; give sessions more samples"
            )
        missing = _count_unlabelled(samples.targets)
        if missing and requirements.labels:
            return (
                f"learns from labels, but {missing} of {len(samples)} training samples of session "
                f"{session} have none; label them, or choose a strategy that needs none, such as "
                "sycon"
            )
    return None


def _count_unlabelled(targets: Sequence[int]) -> int:
    from cl_suite.data.samples import UNLABELLED

    return sum(target == UNLABELLED for target in targets)
