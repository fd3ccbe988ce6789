"""A tiny classifier file in the working folder, for the learner's commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.classifier_files import classifier_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier_file(tmp_path_factory.mktemp("made"))


@pytest.fixture
def model(made: Path, here: Path) -> Path:
    """The file `a.clm` in the working folder; it knows class0 to class2."""
    shutil.copy(made, here)
    return here / "a.clm"
