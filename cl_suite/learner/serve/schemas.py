"""What the JSON interface takes and returns; `/api/openapi.json` is made of these."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from cl_suite.learner.steps import LONGEST_LABEL

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="one sentence: what is wrong, and the remedy")


class KnownClass(BaseModel):
    """A class, and from how many pictures it is known."""

    label: str
    pictures: Count


class CalibrationInfo(BaseModel):
    """How scores become probabilities."""

    scale: FiniteFloat = Field(description="factor on scores before the softmax")
    threshold: FiniteFloat | None = Field(
        description="familiarity below which a picture is unknown; null if too few pictures tell"
    )
    pictures: Count = Field(description="number of pictures that both were fitted to")


class LimitsInfo(BaseModel):
    """What a request may bring."""

    request_bytes: Count
    file_bytes: Count
    files: Count
    pixels: Count
    request_pixels: Count
    label_characters: Count


class Info(BaseModel):
    """The classifier."""

    file: str
    classes: list[KnownClass] = Field(description="in order of arrival")
    pictures: Count = Field(description="number of pictures of all classes")
    rule: str
    backbone: str
    input_shape: list[int] = Field(description="channels, height and width")
    calibration: CalibrationInfo | None = Field(description="null without a class")
    false_alarms: Share = Field(
        description="share of pictures of known classes that may be called unknown"
    )
    note: str = Field(description="what users of this classifier should know; often empty")
    can_undo: bool
    held_out: str | None = Field(description="name of the folder that accuracy is measured on")
    limits: LimitsInfo
    version: str = Field(description="of cl-suite")


class Guess(BaseModel):
    """A class, and how probable it is."""

    label: str
    probability: Share


class NearPicture(BaseModel):
    """A training picture."""

    label: str
    similarity: Annotated[FiniteFloat, Field(ge=-1, le=1)] = Field(
        description="cosine of the backbone's features"
    )
    picture: str = Field(description="a small JPEG as a data URL")


class PictureAnswer(BaseModel):
    """What a picture shows, or why it could not be read."""

    image: str = Field(description="the file's name")
    label: str | None = Field(description="the best class; null if unknown or unreadable")
    unknown: bool = Field(description="whether it fits no class as well as known pictures do")
    familiarity: FiniteFloat | None = Field(description="how well it fits its best class")
    top: list[Guess] = Field(description="best first")
    nearest: list[NearPicture] = Field(description="of the best classes, nearest first")
    error: str | None


class Predictions(BaseModel):
    """What pictures show, in the order of the files."""

    predictions: list[PictureAnswer]


class UnreadPicture(BaseModel):
    """A picture that was skipped."""

    image: str
    error: str


class LearnedAnswer(BaseModel):
    """What was learned; the classifier's file has it."""

    label: str
    new: bool = Field(description="whether the class was unknown before")
    added: Count
    known: Count = Field(description="pictures that the class knew already; they count once")
    total: Count = Field(description="pictures of the class now")
    skipped: list[UnreadPicture]
    message: str


class ForgetRequest(BaseModel):
    """A class to forget."""

    model_config = ConfigDict(extra="forbid")
    label: str


class RenameRequest(BaseModel):
    """A class, and its new name."""

    model_config = ConfigDict(extra="forbid")
    label: str
    to: str = Field(min_length=1, max_length=LONGEST_LABEL)


class Step(BaseModel):
    """A step in the classifier's history."""

    step: str = Field(description="start, learn, forget, rename or merge")
    when: str = Field(description="ISO 8601, UTC")
    label: str | None = Field(description="of the class, if it concerns one")
    to: str | None = Field(description="the new name, of a rename")
    pictures: Count = Field(description="number of pictures learned")


class History(BaseModel):
    """What happened to the classifier."""

    steps: list[Step] = Field(description="newest first")
    total: Count


class Changed(BaseModel):
    """A change that the classifier's file has."""

    label: str
    message: str


class Undone(BaseModel):
    """A step that was taken back."""

    step: Step | None = Field(description="the step that is gone; null if the file does not say")
    message: str


class ClassFigures(BaseModel):
    """Pictures of a class, and how many were right."""

    label: str
    pictures: Count
    right: Count


class Accuracy(BaseModel):
    """Figures on the held-out folder."""

    accuracy: Share | None = Field(description="null without a picture of a known class")
    pictures: Count = Field(description="of known classes")
    right: Count
    called_unknown: Count
    calibration_error: Share | None
    strangers: Count = Field(description="pictures of classes that the classifier does not know")
    strangers_called_unknown: Count
    auroc: Share | None = Field(description="how well familiarity tells strangers from the known")
    by_class: list[ClassFigures]
    skipped: list[UnreadPicture]


class Reading(BaseModel):
    """How many of the held-out pictures are read; ask again."""

    done: Count
    total: Count
