"""The wheel: it installs cleanly beside other packages, and third parties add to it."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = '''
from cl_suite.plugin import StrategyPlugin


class CountingPlugin(StrategyPlugin):
    """Counts epochs.

    Args:
        step: how much an epoch counts.
    """

    default_config = {"training": {"base_epochs": 1, "incremental_epochs": 1}}

    def __init__(self, *, step: int = 1) -> None:
        self.step = step
        self.count_ = 0

    def after_training_epoch(self, strategy, **kwargs):
        self.count_ += self.step
        print("epochs counted:", self.count_)

    def state_dict(self):
        return {"count": self.count_}

    def load_state_dict(self, state):
        self.count_ = state["count"]
'''
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "third-party"
version = "1"
[project.entry-points."cl_suite.strategies"]
counting = "third_party:CountingPlugin"
[project.entry-points."cl_suite.scenarios"]
few_characters = "third_party_scenario:FewCharacters"
[tool.setuptools]
py-modules = ["third_party", "third_party_scenario"]
"""
SCENARIO = '''
from cl_suite.scenarios.omniglot import Omniglot


class FewCharacters(Omniglot):
    """Omniglot in three sessions.

    Args:
        shots: training drawings of each later class.
    """

    def __init__(self, *, shots: int = 5) -> None:
        super().__init__(base_classes=12, way=115, shots=shots)
'''


def call(*arguments: object, cwd: Path | None = None, **environment: str) -> str:
    import os

    result = subprocess.run(
        [str(a) for a in arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert top == {"cl_suite"}


def test_the_wheel_holds_modules_settings_data_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "cl_suite/strategies/teen.py",
        "cl_suite/scenarios/omniglot.py",
        "cl_suite/configs/strategy/teen.yaml",
        "cl_suite/configs/scenario/omniglot.yaml",
        "cl_suite/data/assets/omniglot_small.npz",
        "cl_suite/data/assets/LICENSE-omniglot",
        "cl_suite/data/assets/index_lists/cub200/session_11.txt",
        "cl_suite/py.typed",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_lists_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    # what `list` needs; the heavy rest would take minutes and is not imported by it
    clean = {"PYTHONPATH": ""}  # a checkout on the path would pass for an installation
    call(python, "-m", "pip", "install", "--quiet", "pyyaml", "rich", **clean)
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel, **clean)
    out = call(tmp_path / "env/bin/cl-suite", "list", cwd=tmp_path, **clean)
    assert "omniglot" in out
    assert "teen" in out
    missing = "import importlib.util as u; print([u.find_spec(n) for n in "
    missing += "('strategies', 'scenarios', 'configs')])"
    assert call(python, "-c", missing, cwd=tmp_path, **clean).strip() == "[None, None, None]"


@pytest.mark.slow
def test_a_third_partys_strategy_and_scenario_run_by_name(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "third_party.py").write_text(PLUGIN)
    (source / "third_party_scenario.py").write_text(SCENARIO)
    call(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
        source,
    )
    suite = [sys.executable, "-m", "cl_suite.cli"]
    path = {"PYTHONPATH": str(target)}
    listing = call(*suite, "list", cwd=tmp_path, **path)
    assert "from package third-party" in listing
    out = call(
        *suite, "run", "few_characters", "counting", "--strategy.step", "2", cwd=tmp_path, **path
    )
    assert "epochs counted: 6" in out  # one epoch in each of three sessions, two a piece
    assert (tmp_path / "runs/few_characters/counting/seed0/metrics.jsonl").is_file()
