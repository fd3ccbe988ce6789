"""The wheel installs cleanly next to other packages, and third parties can extend it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = '''
from dataclasses import dataclass, field
from typing import Annotated

from cl_suite.plugin import StrategyPlugin, Within


@dataclass(kw_only=True, eq=False)
class CountingPlugin(StrategyPlugin):
    """Counts epochs.

    Args:
        step: how much an epoch counts.
    """

    default_config = {"training": {"base_epochs": 1, "incremental_epochs": 1}}

    step: Annotated[int, Within(1)] = 1
    count_: int = field(default=0, init=False)

    def after_training_epoch(self, template, **kwargs):
        self.count_ += self.step
        print("epochs counted:", self.count_)
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
from dataclasses import dataclass

from cl_suite.scenarios.omniglot import Omniglot


@dataclass(kw_only=True, eq=False)
class FewCharacters(Omniglot):
    """Omniglot in three sessions."""

    base_classes: int = 12
    way: int = 115
'''


def call(*arguments: object, cwd: Path | None = None, **environment: str) -> str:
    import os

    result = subprocess.run(
        [str(a) for a in arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        # a checkout on the path would pass for an installation
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def copy_of_checkout(target: Path) -> Path:
    """Copy what belongs to the project: left-overs of builds would end up in the wheel."""
    everywhere = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__")

    def ignored(folder: str, names: list[str]) -> set[str]:
        at_the_top = {"build", "dist", "runs", "site"} if Path(folder) == ROOT else set()
        return set(everywhere(folder, names)) | at_the_top

    return Path(shutil.copytree(ROOT, target, symlinks=True, ignore=ignored))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    source = copy_of_checkout(tmp_path_factory.mktemp("source") / "checkout")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_the_wheel_has_the_modules_of_the_checkout_and_no_others(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".py")}
    folders = {"cl_suite": ""} | dict.fromkeys(("strategies", "scenarios", "configs"), "cl_suite/")
    expected = {
        f"{prefix}{path.relative_to(ROOT).as_posix()}"
        for folder, prefix in folders.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert names == expected


def test_the_source_distribution_has_settings_and_data_too(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert "cl_suite/configs/strategy/teen.yaml" in names
    assert "cl_suite/data/assets/omniglot_small.npz" in names
    assert "README.md" in names


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
        "cl_suite/learner/serve/page/index.html",
        "cl_suite/learner/serve/page/page.js",
        "cl_suite/report/html/templates/page.html",
        "cl_suite/report/html/templates/page.css",
        "cl_suite/report/html/templates/page.js",
        "cl_suite/py.typed",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a clean environment with the wheel and the few packages that `list` needs."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    call(programs / "python", "-m", "pip", "install", "--quiet", "pyyaml", "rich")
    call(programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    return programs


@pytest.mark.slow
def test_the_wheel_lists_in_a_clean_environment(installed: Path, tmp_path: Path) -> None:
    out = call(installed / "cl-suite", "list", cwd=tmp_path)
    assert "omniglot" in out
    assert "teen" in out
    missing = "import importlib.util as u; print([u.find_spec(n) for n in "
    missing += "('strategies', 'scenarios', 'configs')])"
    assert call(installed / "python", "-c", missing, cwd=tmp_path).strip() == "[None, None, None]"


WHERE = """
import importlib.util, os
for name in ("cl_suite", "cl_suite.strategies.teen", "cl_suite.scenarios.omniglot"):
    print(os.path.realpath(importlib.util.find_spec(name).origin))
"""


@pytest.mark.slow
def test_a_checkout_uses_its_own_files_beside_an_installed_wheel(
    installed: Path, tmp_path: Path
) -> None:
    first, second = (copy_of_checkout(tmp_path / name) for name in ("first", "second"))
    for checkout in (first, second):
        found = call(installed / "python", "-c", WHERE, cwd=checkout).split()
        assert all(Path(path).is_relative_to(checkout.resolve()) for path in found), found
        assert "teen" in call(installed / "python", "-m", "cl_suite.cli", "list", cwd=checkout)


def put_into(target: Path, *sources: Path) -> dict[str, str]:
    """Install packages into a folder as a third party's are; return how programs find them."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    call(sys.executable, "-m", "pip", "install", *options, "--target", target, *sources)
    return {"PYTHONPATH": str(target)}


@pytest.mark.slow
def test_a_third_partys_strategy_and_scenario_run_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "third_party.py").write_text(PLUGIN)
    (source / "third_party_scenario.py").write_text(SCENARIO)
    path = put_into(tmp_path / "site", source)
    suite = [sys.executable, "-m", "cl_suite.cli"]
    listing = call(*suite, "list", cwd=tmp_path, **path)
    assert "from package third-party" in listing
    out = call(
        *suite, "run", "few_characters", "counting", "--strategy.step", "2", cwd=tmp_path, **path
    )
    assert "epochs counted: 6" in out  # one epoch in each of three sessions, two a piece
    assert (tmp_path / "runs/few_characters/counting/seed0/metrics.jsonl").is_file()


def own_method(folder: Path, text: str) -> Path:
    """Return the package of the example, with a method as some document shows it."""
    source = Path(shutil.copytree(ROOT / "examples/own_method", folder / "own_method"))
    (source / "mean_method.py").write_text(text)
    return source


def shown_methods() -> dict[str, str]:
    """Return the text of each method that a reader may paste, by where it stands."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    (in_readme,) = [text for text in blocks if "MeanPlugin" in text]
    return {
        "README": in_readme,
        "example": (ROOT / "examples/own_method/mean_method.py").read_text("utf-8"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "options"),
    [
        ("README", []),
        # whoever trains on in later sessions must not lose the base classes by it
        ("example", ["--training.incremental_epochs", "5"]),
    ],
)
def test_a_method_as_it_is_shown_keeps_its_base_classes(
    where: str, options: list[str], tmp_path: Path
) -> None:
    path = put_into(tmp_path / "site", own_method(tmp_path, shown_methods()[where]))
    words = ["run", "omniglot", "mean_method", "--device", "cpu", *options]
    call(sys.executable, "-m", "cl_suite.cli", *words, cwd=tmp_path, **path)
    file = tmp_path / "runs/omniglot/mean_method/seed0/metrics.jsonl"
    base = [json.loads(line)["base"] for line in file.read_text("utf-8").splitlines()]
    assert len(base) == 13
    assert base[0] > 0.5
    assert base[-1] > 0.8 * base[0]


@pytest.mark.slow
def test_the_authors_tests_of_a_method_pass_beside_an_installed_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    source = own_method(tmp_path, shown_methods()["README"])
    path = put_into(tmp_path / "site", wheel, source)
    # the fixture comes by the entry point of the wheel
    (source / "test_stream.py").write_text(
        "def test_it_is_tiny(tiny_stream):\n    assert len(tiny_stream.train) == 3\n"
    )
    (source / "mean_method.py").unlink()  # the installed one is tested
    out = call(sys.executable, "-m", "pytest", "-q", "-rs", cwd=source, **path)
    assert re.search(r"\d\d passed", out)
    assert "skipped" not in out
