"""What a method promises of its learned state: a run may stop and go on at any moment."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

import torch

from cl_suite.storage import checkpoint
from cl_suite.testing.subject import Subject, claim, differences, train, weights


def going_on_equals_never_having_stopped(subject: Subject) -> None:
    """Saved after any epoch, loaded and trained on, it ends with the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        _check_resuming(subject, Path(folder))


def _check_resuming(subject: Subject, folder: Path) -> None:
    engine, saved = subject.engine(), list[tuple[Path, int]]()

    def save(next_session: int) -> None:
        path = folder / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    last = engine.stream.info.num_sessions - 1
    for session in range(last + 1):
        engine.train_session(session)
        save(session + 1)
    expected, hits = weights(engine), engine.evaluate(last)
    for path, next_session in saved:
        resumed = subject.engine()
        torch.rand(7)  # a resumed process has drawn other random numbers
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, next_session)
        changed = differences(resumed, expected)
        where = f"resumed from save {path.stem} of {len(saved)}, in session {next_session}"
        claim(not changed, f"{where}, it ends with other values in {changed[:3]}")
        claim(resumed.evaluate(last).equal(hits), f"{where}, it predicts otherwise")


def learned_state_ends_in_an_underscore(subject: Subject) -> None:
    """What is learned ends in an underscore, which is saved; other attributes begin with one."""
    _check_names(subject, subject.cls(), "when it is made")
    engine = subject.trained()
    _check_names(subject, engine.plugin, "after training")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        try:
            checkpoint.save(path, engine.state_dict())
        except Exception as error:
            raise AssertionError(
                f"the learned state cannot be saved ({type(error).__name__}: {error}); keep "
                "tensors, plain values, containers of them and networks"
            ) from error
        subject.engine().load_state_dict(checkpoint.load(path))


def _check_names(subject: Subject, plugin: object, when: str) -> None:
    parameters = set(inspect.signature(subject.cls).parameters)
    others = sorted(set(vars(plugin)) - parameters)
    bare = [name for name in others if not (name.endswith("_") or name.startswith("_"))]
    claim(
        not bare,
        f"{', '.join(bare)} {when} is neither a parameter nor learned; end its name in an "
        "underscore if it is to be saved, begin it with one if it is of no later use",
    )


STATE_CHECKS = (going_on_equals_never_having_stopped, learned_state_ends_in_an_underscore)
