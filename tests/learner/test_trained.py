"""What a run leaves at its end: nothing that goes wrong there loses the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_runs import run

from cl_suite import Learner, load_model
from cl_suite.errors import UserError
from cl_suite.learner import store, trained
from cl_suite.learner.trained import labels_of
from cl_suite.models.classifier import Classifier
from cl_suite.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("place", "error", "sentence"),
    [
        ("store.write", UserError("the disk is full"), "the disk is full"),
        ("content_digests", FileNotFoundError(2, "No such file", "a.png"), "a.png"),
        ("_state", MemoryError(), "MemoryError"),
    ],
)
def test_a_run_without_a_classifier_is_still_finished_and_says_why(
    place: str,
    error: Exception,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    owner, _, name = place.rpartition(".")
    monkeypatch.setattr(store if owner else trained, name, fails)
    folder = run(tmp_path, "teen")
    assert isinstance(load_model(folder).classifier, Classifier)
    assert np.isfinite(RunFolder(folder).read_hits().hits).any()
    with pytest.raises(UserError, match=f"left no classifier .*{sentence}"):
        Learner.from_run(folder)


def test_classes_of_one_name_stay_apart() -> None:
    names = ["crane", "crane", "", "x" * 300, "x" * 300, "a\x1bb", "crane (2)"]
    labels = labels_of(names)
    assert len(set(labels)) == len(names)
    assert labels[:2] == ["crane", "crane (2)"]
    assert labels[5] == "a b"
    assert all(0 < len(label) <= 200 and label.isprintable() for label in labels)
