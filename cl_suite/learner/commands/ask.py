"""`cl-suite predict` and `cl-suite evaluate`."""

from __future__ import annotations

import csv
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from cl_suite.data.readers.class_folders import find_images
from cl_suite.errors import UserError
from cl_suite.learner.answers import Evaluation, Prediction
from cl_suite.learner.commands.screen import Screen, in_utf8, pictures, print_json, shown
from cl_suite.learner.commands.seeing import loaded, looking
from cl_suite.learner.learner import Learner
from cl_suite.learner.pictures import AT_ONCE, Source, sources

WORST = 15  # classes that a table shows, if there are more
NEAREST = 2  # classes that are named for an unknown picture
LEAST = 0.0005  # a smaller probability is printed as 0.0 %


def predict(parsed: Namespace, screen: Screen) -> int:
    """Print the classes of pictures; return the exit code."""
    learner = loaded(parsed)
    wanted = sources(parsed.images)
    keys = _moved(learner, parsed, screen)
    used = 0
    with looking(screen, len(wanted), "looking"):
        found = _predictions(learner, wanted, parsed, keys)
        if parsed.strict or not (parsed.json or parsed.csv):
            found = iter(list(found))  # all or nothing
        if parsed.json:
            used = _print_json(found)
        elif parsed.csv:
            used = _print_csv(found, min(parsed.top, len(learner.labels)))
        else:
            answers = [one for one in found if one.error is None]
            used = len(answers)
    if not used:
        raise UserError("none of the pictures could be used")
    if not (parsed.json or parsed.csv):
        _print_table(answers, screen)
        if learner.calibration.threshold is None:
            screen.note(
                "note: this classifier knows too few pictures to call any unknown; teach it more"
            )
    return 0


def evaluate(parsed: Namespace, screen: Screen) -> int:
    """Print a classifier's accuracy on a folder of class folders; return the exit code."""
    learner = loaded(parsed)
    findings = find_images(Path(parsed.folder).expanduser(), parsed.folder)
    for note in findings.notes():
        screen.note(f"note: {note}")
    with looking(screen, sum(map(len, findings.images.values())), "looking"):
        found = learner.evaluate(parsed.folder, strict=parsed.strict)
    if parsed.json:
        print_json(found.as_dict())
    else:
        _print_evaluation(found, screen)
    return 0


def _moved(learner: Learner, parsed: Namespace, screen: Screen) -> Tensor | None:
    """Return the keys of the classes moved by the unlabelled pictures; None without any."""
    if parsed.unlabelled is None:
        return None
    wanted = sources(parsed.unlabelled)
    with looking(screen, len(wanted), "looking"):
        examples, skipped = learner.look(wanted, strict=parsed.strict)
    if not len(examples):
        raise UserError("none of the unlabelled pictures could be used; leave --unlabelled out")
    keys = learner.moved_keys(examples)
    also = f" ({len(skipped)} skipped)" if skipped else ""
    screen.note(
        f"note: {pictures(len(examples))} without labels{also} move the classes' prototypes for "
        "these predictions (transductive)"
    )
    return keys


def _predictions(
    learner: Learner, wanted: list[Source], parsed: Namespace, keys: Tensor | None
) -> Iterator[Prediction]:
    for first in range(0, len(wanted), AT_ONCE):
        part = wanted[first : first + AT_ONCE]
        yield from learner.predict(part, parsed.top, strict=parsed.strict, keys=keys)


def _print_json(found: Iterator[Prediction]) -> int:
    used = 0
    for one in found:
        print_json(one.as_dict())
        used += one.error is None
    return used


def _print_csv(found: Iterator[Prediction], top: int) -> int:
    in_utf8()
    table = csv.writer(sys.stdout, lineterminator="\n")
    ranks = [f"{what}_{rank}" for rank in range(1, top + 1) for what in ("label", "probability")]
    table.writerow(["image", "label", "unknown", "familiarity", *ranks, "error"])
    used = 0
    for one in found:
        if one.error is not None:
            table.writerow([one.name, "", "", "", *[""] * len(ranks), one.error])
            continue
        used += 1
        best = [v for pair in zip(one.labels, one.probabilities, strict=True) for v in pair]
        unknown = str(one.is_unknown).lower()
        table.writerow([one.name, one.label or "", unknown, one.familiarity, *best, ""])
    return used


def _print_table(found: list[Prediction], screen: Screen) -> None:
    rows = [
        (
            shown(one.name),
            one.label or "unknown",
            "" if one.is_unknown else f"{one.probabilities[0]:.1%}",
            _others(one),
        )
        for one in found
    ]
    if len(rows) > 1:
        screen.table(("picture", "class", "probability", ""), rows, "probability")
        return
    name, label, probability, others = rows[0]
    answer = f"{label} {probability}".strip()
    screen.say(f"{name}: {answer}{f' ({others})' if others else ''}")


def _others(one: Prediction) -> str:
    if one.is_unknown:
        # probabilities are shares among the known classes, and it seems to be of none
        return f"nearest: {', '.join(one.labels[:NEAREST])}"
    pairs = list(zip(one.labels, one.probabilities, strict=True))[1:]
    return ", ".join(f"{label} {share:.1%}" for label, share in pairs if share >= LEAST)


def _print_evaluation(found: Evaluation, screen: Screen) -> None:
    facts = {}
    if found.num_pictures:
        facts["accuracy"] = (
            f"{found.accuracy:.2%} of {pictures(found.num_pictures)} of known classes; "
            f"{found.num_rejected} of them are called unknown"
        )
        facts["calibration error"] = f"{found.calibration_error:.2%}"
    if found.num_strangers:
        facts["other classes"] = (
            f"{found.num_strangers_found} of {pictures(found.num_strangers)} of classes that it "
            "does not know are called unknown"
        )
    if found.auroc is not None:
        facts["AUROC"] = f"{found.auroc:.3f}, of known against other classes by familiarity"
    screen.facts(facts)
    if not found.by_class:
        return
    rows = sorted(found.by_class.items(), key=lambda item: _share(item[1]))
    screen.say()
    screen.table(
        ("class", "right", "of", "accuracy"),
        [
            (label, str(right), str(num), f"{_share((num, right)):.1%}")
            for label, (num, right) in rows[:WORST]
        ],
        "right,of,accuracy",
    )
    if len(rows) > WORST:
        screen.say(f"... and {len(rows) - WORST} classes with higher accuracy; --json prints all")


def _share(counts: tuple[int, int]) -> float:
    num, right = counts
    return right / num if num else 0.0
