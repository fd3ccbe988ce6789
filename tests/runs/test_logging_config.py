"""Which loggers watch a run: their names, their options, and what is refused before training."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from helpers.tiny_runs import TINY, refused, run

from cl_suite import registry
from cl_suite.cli import main
from cl_suite.logging.csv_files import CsvFiles
from cl_suite.logging.progress import ConsoleProgress
from cl_suite.logging.run_dashboard import RunDashboard
from cl_suite.runs.listener import Listener, WatchedRun

RUN = ("run", "omniglot", "prototype", *TINY)
FOLDER = Path("runs/omniglot/prototype/seed0")


class Diary(Listener):
    """A third party's logger."""

    made: ClassVar[list[Diary]] = []

    def __init__(self, colour: str = "blue", pages: int = 3) -> None:
        self.colour, self.pages, self.told = colour, pages, 0
        self.made.append(self)

    def starts(self, run: WatchedRun) -> None:
        self.told += 1


class Point:
    """A third party's entry point."""

    def __init__(self, name: str) -> None:
        self.name, self.value, self.dist = name, f"{__name__}:Diary", None


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> None:
    Diary.made.clear()
    points = {"cl_suite.loggers": [Point("diary")]}
    monkeypatch.setattr(metadata, "entry_points", lambda group: points.get(group, []))


def test_loggers_come_in_the_order_given_and_the_console_stays() -> None:
    made = registry.make_listeners(["csv", "tensorboard"])
    assert [type(each) for each in made] == [CsvFiles, RunDashboard, ConsoleProgress]
    assert [type(each) for each in registry.make_listeners([])] == [ConsoleProgress]


def test_the_command_line_names_one_logger(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--logging.loggers", "csv"]) == 0
    assert (FOLDER / "sessions.csv").is_file()
    assert not list(FOLDER.glob("events*"))
    assert "dashboard:" not in capsys.readouterr().out


def test_a_file_names_loggers_and_their_options(here: Path, diary: None) -> None:
    text = yaml.safe_dump({"logging": {"loggers": ["diary"], "options": {"diary": {"pages": 7}}}})
    Path("own.yaml").write_text(text)
    assert main([*RUN, "--config", "own.yaml"]) == 0
    (told,) = [each for each in Diary.made if each.told]
    assert (told.colour, told.pages) == ("blue", 7)


def test_an_option_is_named_on_the_command_line(here: Path, diary: None) -> None:
    given = ("--logging.loggers", "diary", "--logging.options.diary.colour", "red")
    assert main([*RUN, *given]) == 0
    (told,) = [each for each in Diary.made if each.told]
    assert told.colour == "red"


def test_a_program_names_loggers(tmp_path: Path) -> None:
    folder = run(tmp_path, listeners=None, **{"logging.loggers": ["csv"]})
    assert (folder / "sessions.csv").is_file()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--logging.loggers", "cvs"], "logger 'cvs' is unknown; did you mean 'csv'?"),
        (["--logging.loggers=[csv, csv]"], "--logging.loggers lists one twice"),
        (
            ["--logging.options.wandb.project", "x"],
            "--logging.options has options of 'wandb', which is not one of --logging.loggers",
        ),
        (
            ["--logging.loggers", "wandb", "--logging.options.wandb.projct", "x"],
            "--logging.options.wandb.projct is unknown; did you mean 'project'?",
        ),
        (
            ["--logging.loggers", "wandb", "--logging.options.wandb.online", "perhaps"],
            "--logging.options.wandb.online must be true or false, got 'perhaps'",
        ),
        (["--logging.logers", "csv"], "--logging.logers is unknown; did you mean 'loggers'?"),
        (
            ["--logging.loggers", "mlflow"],
            "logger 'mlflow' needs the package mlflow, which is not installed or cannot be "
            "imported; install it by `pip install 'cl-suite[mlflow]'`",
        ),
    ],
)
def test_what_cannot_be_logged_is_refused_before_training(
    given: list[str],
    sentence: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert sentence in refused(capsys, *RUN, *given)
    assert not Path("runs").exists()


def test_a_third_partys_logger_with_a_taken_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda group: [Point("csv")] if group == registry.LOGGER_GROUP else [],
    )
    with pytest.raises(ValueError, match="logger 'csv' of another package has the name"):
        registry.make_listeners(["csv"])


def test_loggers_change_no_result_so_a_run_resumes_with_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(RUN)) == 0
    assert main([*RUN, "--logging.loggers", "csv"]) == 0  # the same run, finished
    assert "finished already" in capsys.readouterr().out
    assert not (FOLDER / "sessions.csv").exists()


def test_a_run_of_a_version_without_this_section_is_the_same_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(RUN)) == 0
    config = FOLDER / "config.yaml"
    settings: dict[str, Any] = yaml.safe_load(config.read_text())
    assert settings.pop("logging") == {"loggers": ["tensorboard"], "options": {}}
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    assert main(list(RUN)) == 0
    assert "finished already" in capsys.readouterr().out
