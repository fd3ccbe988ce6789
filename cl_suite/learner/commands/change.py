"""Commands that change what a classifier knows without a look at pictures or a backbone."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from cl_suite.errors import UserError
from cl_suite.learner import store
from cl_suite.learner.commands.history import difference_in_words
from cl_suite.learner.commands.screen import Screen, classes, pictures
from cl_suite.learner.learner import Learner
from cl_suite.learner.places import check_classifier_file

NAMED = 5  # new labels that a merge names


def forget(parsed: Namespace, screen: Screen) -> int:
    """Forget a class."""
    with described(parsed.model).held() as learner:
        number = learner.counts.get(parsed.label, 0)
        learner.forget(parsed.label)
    screen.say(
        f"forgot '{parsed.label}' and its {pictures(number)}; {parsed.model} knows "
        f"{classes(len(learner.labels))}"
    )
    return 0


def rename(parsed: Namespace, screen: Screen) -> int:
    """Rename a class."""
    with described(parsed.model).held() as learner:
        learner.rename(parsed.label, parsed.to)
    screen.say(f"'{parsed.label}' is now called '{parsed.to.strip()}'")
    return 0


def undo(parsed: Namespace, screen: Screen) -> int:
    """Restore the previous version of a file, byte for byte."""
    path = Path(parsed.model).expanduser()
    with store.locked(path):
        if not store.previous(path).is_file():
            check_classifier_file(path)
            store.restore_previous(path)
        # first read: a version that cannot be used would be a bad exchange
        before = described(store.previous(path))
        undone = _undone(path, before)
        store.restore_previous(path)
    screen.say(f"taken back: {undone}; {parsed.model} knows {classes(len(before.labels))} again")
    return 0


def merge(parsed: Namespace, screen: Screen) -> int:
    """Teach a classifier all that others know."""
    others = [(name, described(name)) for name in parsed.others]
    with described(parsed.model).held() as learner:
        labels, number = set(learner.labels), sum(learner.counts.values())
        for name, other in others:
            try:
                learner.merge(other)
            except UserError as error:
                raise UserError(f"'{name}' cannot be merged: {error}") from error
    new = [label for label in learner.labels if label not in labels]
    some = ", ".join(new[:NAMED]) + (", ..." if len(new) > NAMED else "")
    screen.say(
        f"merged {', '.join(parsed.others)}: {classes(len(new))} new{f' ({some})' if new else ''}, "
        f"{pictures(sum(learner.counts.values()) - number)} more; {parsed.model} knows "
        f"{classes(len(learner.labels))}"
    )
    return 0


def described(path: str | Path) -> Learner:
    """Return the classifier in a file, whose backbone need not be there."""
    return Learner.load(path, with_backbone=False)


def _undone(path: Path, before: Learner) -> str:
    try:
        return difference_in_words(described(path).history, before.history)
    except UserError:
        return "the last change"  # the file is damaged or gone
