"""`cl-suite learn`: makes a classifier file, and teaches one a class."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from cl_suite.data.readers.class_folders import find_images
from cl_suite.errors import UserError
from cl_suite.learner.answers import Learned
from cl_suite.learner.commands.arguments import DEFAULT_BACKBONE, DEFAULT_RULE
from cl_suite.learner.commands.early import starts
from cl_suite.learner.commands.screen import Screen, classes, pictures
from cl_suite.learner.commands.seeing import (
    device_named,
    helpful_about_weights,
    loaded,
    looking,
    weights_of,
)
from cl_suite.learner.learner import Learner
from cl_suite.learner.pictures import Skipped, sources
from cl_suite.learner.places import picture_files
from cl_suite.learner.records import Examples
from cl_suite.learner.steps import checked_label


def learn(parsed: Namespace, screen: Screen) -> int:
    """Make or teach a classifier; return the exit code."""
    if parsed.label is not None:
        checked_label(parsed.label)
    if starts(parsed):
        return _start(parsed, screen)
    learner = loaded(parsed)
    # looking takes long, and others may change the file meanwhile
    examples, skipped = _looked(learner, parsed, screen)
    with learner.held() as now:
        learned = dataclasses.replace(now.add(examples, parsed.label), skipped=skipped)
    _note_doubles(now, learned.label, examples, screen)
    _tell(learned, now, parsed.model, screen)
    return 0


def _start(parsed: Namespace, screen: Screen) -> int:
    learner, learned = _started(parsed, screen), None
    if parsed.label is not None:
        examples, skipped = _looked(learner, parsed, screen)
        learned = dataclasses.replace(learner.add(examples, parsed.label), skipped=skipped)
    learner.save(parsed.model, overwrite=parsed.overwrite)
    if parsed.from_run is not None and learner.note:
        screen.note(f"note: {learner.note}")
    if learned is not None:
        _tell(learned, learner, parsed.model, screen)
    else:
        known = f"{classes(len(learner.labels))} from {pictures(sum(learner.counts.values()))}"
        nothing = "no class yet; teach it one by `cl-suite learn`"
        screen.say(f"{parsed.model} knows {known if learner.labels else nothing}")
    return 0


def _started(parsed: Namespace, screen: Screen) -> Learner:
    weights, device = weights_of(parsed), device_named(parsed.device)
    with helpful_about_weights():
        if parsed.from_run is not None:
            return Learner.from_run(parsed.from_run, weights=weights, device=device)
        total = 0
        if parsed.photos is not None:
            findings = find_images(Path(parsed.photos).expanduser(), parsed.photos)
            total = sum(map(len, findings.images.values()))
            for note in findings.notes():
                screen.note(f"note: {note}")
        with looking(screen, total, "learning"):
            learner = Learner.new(
                parsed.backbone or DEFAULT_BACKBONE,
                weights=weights,
                beside=parsed.beside,
                beside_weights=parsed.beside_weights,
                rule=parsed.rule or DEFAULT_RULE,
                photos=parsed.photos,
                strict=parsed.strict,
                device=device,
            )
    learner.note = ""  # what was skipped has been said
    return learner


def _looked(
    learner: Learner, parsed: Namespace, screen: Screen
) -> tuple[Examples, tuple[Skipped, ...]]:
    _note_folders(parsed, screen)
    wanted = sources(parsed.images)
    with looking(screen, len(wanted), "learning"):
        examples, skipped = learner.look(wanted, strict=parsed.strict)
    if not len(examples):
        raise UserError(f"no picture of '{parsed.label}' could be used, so nothing was learned")
    return examples, skipped


def _tell(learned: Learned, learner: Learner, model: str, screen: Screen) -> None:
    screen.say(f"{learned.in_words()}; {model} knows {classes(len(learner.labels))}")


def _note_folders(parsed: Namespace, screen: Screen) -> None:
    """Say that the folders within a folder are one class here: it may hold a folder a class."""
    for place in parsed.images:
        if Path(place).expanduser().is_dir():
            folders = {file.parent for file in picture_files(place)}
            if len(folders) > 1:
                screen.note(
                    f"note: the pictures of {len(folders)} folders in '{place}' all become "
                    f"'{parsed.label}'; if each is a class, teach them one by one"
                )


def _note_doubles(learner: Learner, label: str, examples: Examples, screen: Screen) -> None:
    """Say which other classes know some of these pictures: usually one of the labels is wrong."""
    ids = set(examples.ids)
    others: Iterable[str] = (
        name
        for name, record in learner.state.records.items()
        if name != label and not ids.isdisjoint(record.ids)
    )
    for name in others:
        known = len(ids.intersection(learner.state.records[name].ids))
        screen.note(
            f"note: {pictures(known)} of '{label}' also taught '{name}'; if that is a mistake, "
            "undo this step"
        )
