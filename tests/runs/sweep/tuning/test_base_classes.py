"""Fake streams cut from a base session: what they hold, and what they never read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.guarded_scenario import BASE, Forbidden, Guarded
from helpers.tiny_streams import make_stream

from cl_suite import registry
from cl_suite.data.samples import UNLABELLED
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.runs.base_classes import BaseClassesOnly, Cut, cut_base, in_words
from cl_suite.runs.config import RunConfig, RunOptions, resolve
from cl_suite.runs.stream_run import Run
from cl_suite.runs.sweep.tuning.candidate_run import on_base_classes, run_candidate
from cl_suite.runs.sweep.tuning.figures_file import read_steps


def digests(sets: object) -> list[bytes]:
    return [s.digest(i) for s in sets for i in range(len(s))]  # type: ignore[attr-defined]


def guarded(strategy: str, *more: str) -> RunConfig:
    arguments = ["--device=cpu", "--training.base_epochs=2", "--training.incremental_epochs=1"]
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", strategy)
    (config,), _ = resolve(*pair, [*arguments, *more])
    return replace(config, scenario=Guarded())


@pytest.mark.parametrize("strategy", ["teen", "finetune", "joint"])
def test_a_candidate_reads_no_test_image_and_no_later_session(
    strategy: str, tmp_path: Path
) -> None:
    config = on_base_classes(guarded(strategy), Cut())
    run_candidate(config, RunOptions(tmp_path, resume=True, overwrite=False), base_steps=2)
    steps = read_steps(tmp_path / "omniglot-base-classes" / strategy / "seed0")
    assert steps[-1].done
    assert steps[-1].figure("score") is not None


def test_a_candidate_behind_the_bank_reads_none_either(tmp_path: Path) -> None:
    config = on_base_classes(guarded("prototype", "--model.frozen=true"), Cut())
    run_candidate(config, RunOptions(tmp_path, resume=True, overwrite=False), base_steps=2)
    assert read_steps(tmp_path / "omniglot-base-classes/prototype/seed0")[-1].done


def test_the_guard_notices_a_run_on_the_stream_itself(tmp_path: Path) -> None:
    """Otherwise the tests above would prove nothing."""
    from cl_suite.runs.folder import RunFolder
    from cl_suite.runs.listener import Listener

    options = RunOptions(tmp_path, resume=False, overwrite=False)
    config = guarded("teen")
    with pytest.raises(AssertionError, match="was read"):
        Run(config, RunFolder.of(config, options), options, Listener()).go()


def test_every_image_is_a_training_image_of_the_base_session_and_comes_once() -> None:
    stream = Guarded().build()
    found = cut_base(stream, Cut())
    parts = digests((*found.train, *found.test))
    assert len(set(parts)) == len(parts)
    assert set(parts) <= set(digests(stream.train[:1]))


def test_the_sessions_are_like_those_of_the_scenario() -> None:
    found = cut_base(Guarded().build(), Cut(new_classes=0.5))
    base, *later = found.info.session_classes
    assert len(base) == 6
    assert [len(classes) for classes in later] == [2, 2, 2]
    assert sorted([*base, *(c for classes in later for c in classes)]) == list(range(BASE))
    assert [
        samples.targets.count(c)
        for samples, classes in zip(found.train[1:], later, strict=True)
        for c in classes
    ] == [3] * 6
    assert all(
        set(s.targets) == set(c)
        for s, c in zip(found.test, found.info.session_classes, strict=True)
    )


def test_another_seed_draws_another_fake_stream_and_the_same_seed_the_same() -> None:
    fingerprints = [cut_base(Guarded().build(), Cut(seed)).info.fingerprint for seed in (0, 0, 1)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_the_size_of_images_reaches_the_scenario() -> None:
    class Sized(Guarded):
        image_size = 3

        def build(self) -> Stream:
            assert self.image_size == 9
            return super().build()

    wrapped = BaseClassesOnly(Sized(), Cut())
    wrapped.image_size = 9  # type: ignore[attr-defined]  # as `build_stream` sets it
    wrapped.build()


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (make_stream(), "needs 10 base classes"),
        (make_stream(kind="data"), "whose sessions bring new classes"),
    ],
)
def test_a_base_session_that_cannot_be_cut_is_refused(stream: Stream, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        cut_base(stream, Cut())


def test_withheld_labels_are_refused() -> None:
    stream = Guarded().build()
    stream.train[0].targets[0] = UNLABELLED
    with pytest.raises(UserError, match="needs the labels"):
        cut_base(stream, Cut())


def test_what_was_tuned_on_is_said_in_words() -> None:
    words = in_words([[0, 1, 2], [3, 4], [5]], 5, 1234)
    assert "3 of its classes play the base, 3 play new classes in 2 sessions with 5 images" in words
    assert "1,234 held-back training images" in words


def test_forbidden_samples_fail_in_every_way() -> None:
    samples = Forbidden([1, 2])
    for read in (lambda: samples[0], lambda: samples.select([0]), lambda: samples.digest(0)):
        with pytest.raises(AssertionError):
            read()
