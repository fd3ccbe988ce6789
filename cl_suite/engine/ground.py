"""The ground that a strategy is meant for, and a sentence for a run that is off it.

A recipe shows what its paper claims only where the paper's conditions hold. The strategy's YAML
file (or `default_config`) states them under `meant_for`. Each is a range, or a word on the network:

    meant_for: {base_shots: {most: 32}, pretrained: true}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl_suite.errors import UserError, suggestion

if TYPE_CHECKING:
    from cl_suite.engine.engine import Engine

RANGES: Mapping[str, str] = {
    "base_classes": "base sessions of {} classes",
    "base_shots": "base sessions of {} {noun} a class",
    "later_shots": "later sessions of {} {noun} a class",
    "epochs": "{} epochs a session",
}
NETWORKS = {True: "pretrained networks", False: "networks that start at random weights"}
CRITERIA = (*RANGES, "pretrained")
NOUNS = {"image": "images", "audio": "sounds"}
_ONE = re.compile(r"\b(1 (?:class|epoch|image|sound|sample))(?:es|s)\b")


@dataclass(frozen=True)
class Range:
    """Whole numbers from `least` to `most`; null for an open end.

    Example:
        >>> 100 in Range(most=32), 3 in Range(most=32), str(Range(most=32))
        (False, True, 'at most 32')
    """

    least: int | None = None
    most: int | None = None

    def __contains__(self, value: int) -> bool:
        above = self.least is None or value >= self.least
        return above and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        if self.least is None:
            return f"at most {self.most}"
        return f"at least {self.least}" if self.most is None else f"{self.least} to {self.most}"


Ground = Mapping[str, Range | bool]  # by criterion


def ground_of(settings: Mapping[str, Any], name: str) -> Ground:
    """Return the ground that a strategy's settings state, an empty one if they state none.

    Args:
        settings: the sections of its YAML file or of its `default_config`.
        name: the strategy's name.

    Raises:
        UserError: for a criterion or a value that does not exist.
    """
    content = settings.get("meant_for") or {}
    whose = f"the settings of {name}, under 'meant_for',"
    found: dict[str, Range | bool] = {}
    for criterion, value in content.items():
        if criterion not in CRITERIA:
            raise UserError(
                f"{whose} set '{criterion}', which does not exist"
                f"{suggestion(str(criterion), CRITERIA)}"
            )
        if criterion in RANGES:
            found[criterion] = _range(value, criterion, whose)
        elif isinstance(value, bool):
            found[criterion] = value
        else:
            raise UserError(f"{whose} must set '{criterion}' to true or false, got {value!r}")
    return found


def ground_in_words(ground: Ground, noun: str = "samples") -> str:
    """Return a ground in words; "" for an empty one.

    Args:
        noun: what the stream calls its samples.

    Example:
        >>> ground_in_words({"base_shots": Range(most=32), "pretrained": True})
        'base sessions of at most 32 samples a class, and pretrained networks'
    """
    return _joined(
        NETWORKS[value] if isinstance(value, bool) else RANGES[name].format(value, noun=noun)
        for name, value in ground.items()
    )


def off_ground(name: str, ground: Ground, engine: Engine) -> str | None:
    """Return a sentence if a run is not on the ground that its strategy is meant for, or None.

    Args:
        name: the strategy's name.
        engine: the run's engine; it has not trained yet.
    """
    facts = {
        criterion: text
        for criterion, expected in ground.items()
        if (text := _unlike(criterion, expected, engine)) is not None
    }
    if not facts:
        return None
    missed = {criterion: ground[criterion] for criterion in facts}
    meant = ground_in_words(missed, NOUNS[engine.stream.info.modality])
    return f"{name} is meant for {meant}; here {_joined(facts.values())}"


def _unlike(criterion: str, expected: Range | bool, engine: Engine) -> str | None:
    """Return the first fact of a run that is unlike what is expected, or None."""
    if isinstance(expected, bool):
        return _unlike_network(expected, engine)
    noun = NOUNS[engine.stream.info.modality]
    for who, number, what in _numbers(criterion, engine):
        if number not in expected:
            return f"{who} {number} {what.format(noun=noun)}"
    return None


def _unlike_network(expected: bool, engine: Engine) -> str | None:
    pretrained = engine.model.backbone.weights is not None
    if pretrained == expected or engine.context.start is not None:
        return None
    return "the network is pretrained" if pretrained else "the network starts at random weights"


def _numbers(criterion: str, engine: Engine) -> Iterator[tuple[str, int, str]]:
    """Yield numbers that a criterion is about: who has them, the number, of what it is."""
    classes = engine.stream.info.session_classes
    if criterion == "base_classes":
        yield "the base session has", len(classes[0]), "classes"
        return
    for session, samples in enumerate(engine.stream.train):
        base = session == 0
        shots = round(len(samples) / max(1, len(classes[session])))
        epochs = engine.num_epochs(session)
        if criterion == "base_shots" and base:
            yield "the base session has", shots, "{noun} a class"
        if criterion == "later_shots" and not base:
            yield f"session {session} has", shots, "{noun} a class"
        # a session may train nothing, and another run's base session is as that run trained it
        trains = epochs > 0 and not (base and engine.context.start is not None)
        if criterion == "epochs" and trains:
            yield f"session {session} trains", epochs, "epochs"


def _range(content: Any, criterion: str, whose: str) -> Range:
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f"{whose} must set '{criterion}' to a range, such as {{'most': 16}}, got {content!r}"
        )
    for end, value in content.items():
        if end not in (known := ("least", "most")):
            raise UserError(
                f"{whose} set '{criterion}.{end}', which does not exist"
                f"{suggestion(str(end), known)}"
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(
                f"{whose} must set '{criterion}.{end}' to a whole number from 1, got {value!r}"
            )
    found = Range(**content)
    if found.least is not None and found.most is not None and found.least > found.most:
        raise UserError(
            f"{whose} set '{criterion}' to no number: 'least' {found.least} is above 'most' "
            f"{found.most}"
        )
    return found


def _joined(parts: Iterable[str]) -> str:
    return _ONE.sub(r"\1", ", and ".join(parts))
