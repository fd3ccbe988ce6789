"""What can be refused before torch is imported, which takes seconds."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from cl_suite.data.readers.class_folders import ENDINGS, find_images
from cl_suite.errors import UserError
from cl_suite.learner.places import check_classifier_file, check_new, picture_files


def refuse_early(parsed: Namespace) -> None:
    """Raise `UserError` for options that contradict each other, and files that are not there."""
    path = Path(parsed.model).expanduser()
    if parsed.command == "learn":
        _learn(parsed, path)
    elif parsed.command != "undo":
        # undo can bring back a file that was deleted
        check_classifier_file(path)
    if parsed.command == "predict":
        _check_pictures(parsed.images)
    for other in getattr(parsed, "others", ()):
        check_classifier_file(Path(other).expanduser())
    if parsed.command == "evaluate":
        find_images(Path(parsed.folder).expanduser(), parsed.folder)
    if getattr(parsed, "held_out", None) is not None:
        find_images(Path(parsed.held_out).expanduser(), parsed.held_out)
    _check_weights(parsed)


def starts(parsed: Namespace) -> bool:
    """Return whether `learn` makes a new classifier."""
    given = (parsed.photos, parsed.from_run, parsed.backbone, parsed.beside, parsed.rule)
    return any(one is not None for one in given)


def _learn(parsed: Namespace, path: Path) -> None:
    _check_label(parsed)
    if starts(parsed):
        _check_start(parsed)
        if not parsed.overwrite:
            check_new(path)
        if parsed.photos is not None:
            find_images(Path(parsed.photos).expanduser(), parsed.photos)
    else:
        if parsed.overwrite:
            raise UserError("--overwrite makes a new classifier; say from what: --from, --from-run")
        check_classifier_file(path)
        if parsed.label is None:
            raise UserError(
                f"say what '{path}' is to learn: `cl-suite learn {path} LABEL IMAGES...`"
            )
    _check_pictures(parsed.images)


def _check_label(parsed: Namespace) -> None:
    label = parsed.label
    if label is None:
        return
    place = Path(label).expanduser()
    if place.suffix.lower() in ENDINGS and place.is_file():
        raise UserError(
            f"'{label}' is a picture, and the class comes first: `cl-suite learn {parsed.model} "
            f"LABEL {label}`"
        )
    if not parsed.images:
        hint = ""
        if place.is_dir():
            hint = f" (a folder of class folders is given as `--from {label}`)"
        raise UserError(f"no picture of '{label}' was given; name at least one{hint}")


def _check_start(parsed: Namespace) -> None:
    if parsed.from_run is not None:
        for name in ("photos", "backbone", "beside", "rule"):
            if getattr(parsed, name) is not None:
                option = {"photos": "from"}.get(name, name)
                raise UserError(
                    f"--from-run goes on with the run's own backbone, rule and classes, so it "
                    f"contradicts --{option}; leave one of them out"
                )


def _check_weights(parsed: Namespace) -> None:
    for name, whose in (("weights", "the backbone"), ("beside_weights", "the second network")):
        path = getattr(parsed, name, None)
        if path is not None and not Path(path).expanduser().exists():
            raise UserError(
                f"weights file '{path}' does not exist; name {whose}'s .safetensors file by "
                f"--{name.replace('_', '-')} FILE"
            )
    if getattr(parsed, "beside_weights", None) is not None and parsed.beside is None:
        raise UserError("--beside-weights are for a second network; name it by --beside NAME too")


def _check_pictures(places: list[str]) -> None:
    for place in places:
        picture_files(place)
