"""What a learner answers: predictions, what was learned, and an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cl_suite.learner.pictures import Skipped


@dataclass(frozen=True)
class Prediction:
    """The classes of one picture.

    Attributes:
        name: the picture's, as it was given.
        labels: best first.
        probabilities: of these labels, among all known classes.
        is_unknown: whether the picture fits no class as well as nearly all known pictures do.
        familiarity: how well it fits its best class; below the learner's threshold it is unknown.
        error: why the picture could not be read; None if it could, and labels is empty otherwise.
    """

    name: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_unknown: bool = False
    familiarity: float = 0.0
    error: str | None = None

    @property
    def label(self) -> str | None:
        """The best label, None for an unknown or unreadable picture."""
        return None if self.is_unknown or not self.labels else self.labels[0]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        if self.error is not None:
            return {"image": self.name, "error": self.error}
        return {
            "image": self.name,
            "label": self.label,
            "unknown": self.is_unknown,
            "familiarity": self.familiarity,
            "top": [
                {"label": label, "probability": probability}
                for label, probability in zip(self.labels, self.probabilities, strict=True)
            ],
        }


@dataclass(frozen=True)
class Learned:
    """What a call of `learn` did.

    Attributes:
        label: the class.
        is_new: whether the class was unknown before.
        added: number of pictures learned.
        known: number of pictures that the class knew already; they count once.
        skipped: pictures that could not be read.
        total: number of pictures of the class now.
    """

    label: str
    is_new: bool
    added: int
    known: int
    skipped: tuple[Skipped, ...]
    total: int

    def in_words(self) -> str:
        """Return one sentence."""
        if not self.added:
            return f"nothing new: '{self.label}' was learned from {_pictures(self.known)} before"
        what = "a new class" if self.is_new else "known already, so these are more examples"
        text = f"learned {_pictures(self.added)} of '{self.label}' ({what}; {self.total} in all)"
        if self.known:
            text += f"; {_pictures(self.known)} known already, which count once"
        if self.skipped:
            text += f"; {_pictures(len(self.skipped))} skipped"
        return text


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on a folder of class folders.

    Attributes:
        num_pictures: pictures of known classes.
        num_right: of these, those whose best label is right, whether or not they look unknown.
        num_rejected: of these, those called unknown.
        by_class: pictures and hits of each known class.
        calibration_error: expected calibration error of the best label's probability (15 bins).
        num_strangers: pictures of classes that the learner does not know.
        num_strangers_found: of these, those called unknown.
        auroc: how well familiarity tells strangers from known pictures; None without strangers.
        skipped: pictures that could not be read.
    """

    num_pictures: int
    num_right: int
    num_rejected: int
    by_class: dict[str, tuple[int, int]]
    calibration_error: float | None
    num_strangers: int
    num_strangers_found: int
    auroc: float | None
    skipped: tuple[Skipped, ...]

    @property
    def accuracy(self) -> float | None:
        """Share of right best labels, None without pictures of known classes."""
        return self.num_right / self.num_pictures if self.num_pictures else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "accuracy": self.accuracy,
            "pictures": self.num_pictures,
            "right": self.num_right,
            "called_unknown": self.num_rejected,
            "calibration_error": self.calibration_error,
            "strangers": self.num_strangers,
            "strangers_called_unknown": self.num_strangers_found,
            "auroc": self.auroc,
            "by_class": {
                label: {"pictures": num, "right": right}
                for label, (num, right) in self.by_class.items()
            },
            "skipped": [{"image": one.name, "error": one.reason} for one in self.skipped],
        }


def _pictures(num: int) -> str:
    return f"{num} picture" if num == 1 else f"{num} pictures"
