"""What the command line does for its reader: speed, hints, whole lines, quiet ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import yaml
from helpers.tiny_runs import TINY, refused

from cl_suite.cli import main
from cl_suite.report.console import plain_console, print_columns
from cl_suite.report.process import calm_libraries

PROGRAM = "import sys; from cl_suite.cli import main; code = main(sys.argv[1:])"


def imported_by(*command: str) -> set[str]:
    """Return the heavy packages that a command imports in a process of its own."""
    code = (
        f"{PROGRAM}; heavy = {{'torch', 'avalanche', 'jsonargparse', 'timm'}}; "
        "print('IMPORTED', *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "command",
    [
        "run omnigolt teen",
        "run omniglot teeen",
        "run omniglot",
        "run omniglot teen --seed 4-0",
        "run --config nowhere.yaml",
        "run omniglot teen --strategy.shift_wait 1",
        "run omniglot ewc --strategy.ewc_lambd 1",
        "run omniglot teen --lr 1",
        "run data_incremental teen",
        "run spoken_digits picle --scenario.root nowhere",
        "list --pairs",
        "bank ls",
        "show nowhere",
    ],
)
def test_what_needs_no_torch_does_not_import_it(command: str, here: Path) -> None:
    assert imported_by(*command.split()) == set()


def test_a_finished_run_is_named_without_the_engine(here: Path) -> None:
    run = ["run", "omniglot", "prototype", *TINY, "--training.base_epochs", "0"]
    assert main(run) == 0
    assert "avalanche" not in imported_by(*run)


def test_settings_that_a_strategy_cannot_use_are_told_without_the_engine(here: Path) -> None:
    assert "avalanche" not in imported_by("run", "omniglot", "teen", "--model.head", "linear")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--lr", "parameter --lr is unknown; did you mean --training.lr?"),
        ("--model.lr", "did you mean --training.lr?"),
        ("--bas_epochs", "did you mean --training.base_epochs?"),
        ("--seeds", "did you mean --seed?"),
        ("--temperature", "did you mean --evaluation.temperature or --model.temperature?"),
        ("--qqqqqq", "see `cl-suite run SCENARIO STRATEGY --help`"),
    ],
)
def test_an_option_without_its_section_is_told_with_it(
    option: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hint in refused(capsys, "run", "omniglot", "teen", option, "3")


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        (["--seed", "2-4"], [2, 3, 4]),
        (["--seed", "0-1", "7"], [0, 1, 7]),
        (["--seed=3-4"], [3, 4]),
        (["--seed", "5"], [5]),
    ],
)
def test_a_range_of_seeds_is_each_of_them(
    given: list[str], seeds: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "omniglot", "teen", *given, "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == seeds


def test_a_range_of_seeds_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "omniglot", "teen", "--seed", "4-0")
    assert "--seed 4-0 must run from a smaller number to a larger one" in error


def test_help_begins_with_the_most_used_and_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "omniglot", "teen", "--help"])
    assert end.value.code in (0, None)
    out = capsys.readouterr().out
    places = [
        out.index(f"\n{title}\n")
        for title in (
            "the run",
            "the strategy teen",
            "the scenario omniglot",
            "training",
            "the model",
            "evaluation",
        )
    ]
    assert places == sorted(places)
    assert out.index("--seed") < out.index("--out") < out.index("--print_config")
    assert "number in [0, 1]" in out
    assert "(list, one item needs no brackets, default: [])" in " ".join(out.split())
    assert "Unvalidated" not in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("command", [["list"], ["list", "--pairs"]])
def test_a_list_is_not_wrapped_in_a_pipe(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line and not line.startswith(" ") for line in lines if line)
    assert max(map(len, lines)) > 80
    assert all(line == line.rstrip() for line in lines)


def test_a_terminal_gets_a_table_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    console = plain_console()
    monkeypatch.setattr(console, "_force_terminal", True)
    console.width = 40
    with console.capture() as said:
        print_columns(console, ("name", "meaning"), [("teen", "word " * 30)])
    assert max(map(len, said.get().splitlines())) < 80


def test_a_path_with_brackets_is_printed_as_it_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = "a [red] b :smile: [/]"
    assert main(["run", "omniglot", "prototype", *TINY, "--out", out]) == 0
    said = capsys.readouterr().out
    assert f"runs:      {out}/omniglot/prototype" in said
    assert f"dashboard: tensorboard --logdir '{out}'" in said
    assert main(["run", "omniglot", "prototype", *TINY, "--out", out]) == 0
    assert f"run '{out}/omniglot/prototype/seed0' is finished" in capsys.readouterr().out


def test_the_dashboards_address_has_smoothing_off(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "omniglot", "prototype", *TINY]) == 0
    assert "http://localhost:6006/?smoothing=0#timeseries" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["1e5", "010", "no", "1_0", "0x1f", "null_"])
def test_a_folder_whose_name_looks_like_a_number_is_text(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).mkdir()
    given = ["--scenario.root", name, "--scenario.base_classes", "2"]
    with pytest.raises(SystemExit):
        main(["run", "image_folder", "teen", *given, "--out", name, "--print_config"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["scenario"]["root"] == name
    (here / "again.yaml").write_text(text)
    with pytest.raises(SystemExit):
        main(["run", "--config", "again.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["scenario"]["root"] == name


def test_a_deeply_nested_value_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    deep = "{a: " + 3000 * "[" + 3000 * "]" + "}"
    error = refused(capsys, "run", "omniglot", "teen", f"--model.backbone_args={deep}")
    assert len(error) < 300


def test_a_device_that_is_not_there_takes_one_short_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for device in ("mps", "xpu", "nonsense"):
        error = refused(capsys, "run", "omniglot", "teen", "--device", device)
        assert f"--device {device} cannot be used" in error
        assert len(error) < 160


def test_a_librarys_warning_is_one_line_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with calm_libraries():
        for number in range(3):
            warnings.warn_explicit(
                "Palette images with\n  Transparency",
                UserWarning,
                "/x/site-packages/PIL/I.py",
                number,
            )
        warnings.warn_explicit("soon gone", DeprecationWarning, "/x/site-packages/np/a.py", 1)
        warnings.warn_explicit("coact: both views are alike", UserWarning, "/x/coact.py", 1)
    assert capsys.readouterr().err == (
        "note: PIL: Palette images with Transparency\nnote: coact: both views are alike\n"
    )


def library_logger(name: str, *handlers: logging.Handler) -> logging.Logger:
    """Return a made-up library's logger; without handlers Python has a last resort for it."""
    logger = logging.Logger(name)  # not a child of the root, where pytest listens
    for handler in handlers:
        logger.addHandler(handler)
    return logger


def test_what_a_library_logs_is_a_line_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with calm_libraries():
        # transformers, huggingface_hub and absl add a handler, timm, PIL and matplotlib do not
        with_own = library_logger("transformers.fake", logging.StreamHandler())
        with_own.warning("Some weights\n  were %s", "not used")
        library_logger("matplotlib.fake").warning("findfont: no such font")
        library_logger("matplotlib.fake").info("not of interest")
    assert capsys.readouterr().err == (
        "note: transformers: Some weights were not used\nnote: matplotlib: findfont: no such font\n"
    )


def test_of_many_warnings_alike_the_first_are_shown_and_of_errors_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = library_logger("huggingface_hub.fake", logging.StreamHandler())
    with calm_libraries():
        for number in range(9):
            logger.warning("Retry %d", number // 2)
        for number in range(9):
            logger.error("File %d is lost", number // 2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("note: huggingface_hub: ") for line in lines] == [
        "Retry 0",
        "Retry 1",
        "Retry 2 (more like it are not shown)",
        *[f"File {number} is lost" for number in range(5)],
    ]


def test_an_exception_that_a_library_logs_keeps_its_cause(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with calm_libraries():
        try:
            raise KeyError("lost")
        except KeyError:
            library_logger("absl").exception("cannot %s", "read", "too many arguments")
    assert capsys.readouterr().err == "note: test_cli_comfort: cannot %s (KeyError: 'lost')\n"


def test_a_log_file_gets_what_a_listener_writes_into_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = logging.FileHandler(here / "log.txt")
    with calm_libraries():
        library_logger("a_listener", file).warning("as\nit is")
    file.close()
    assert (here / "log.txt").read_text() == "as\nit is\n"
    assert capsys.readouterr().err == ""


def test_after_a_command_logging_is_as_it_was(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.StreamHandler.emit
    assert main(["bank", "ls"]) == 0
    refused(capsys, "show", "nowhere")
    assert logging.StreamHandler.emit is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_stop_ends_the_program_without_a_word(number: int, here: Path) -> None:
    # the first one is caught in a cleanup that takes long; the second ends it
    code = (
        "import time, sys\n"
        "from cl_suite.report.process import quiet_stops\n"
        "with quiet_stops():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaning', flush=True)\n"
        "        time.sleep(60)\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    for word in ("ready", "cleaning"):
        assert program.stdout.readline().strip() == word
        time.sleep(0.1)
        os.kill(program.pid, number)
    _, error = program.communicate(timeout=30)
    assert (program.returncode, error) == (130, "")


def test_a_commands_signal_handlers_are_its_own(here: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert main(["list", "backbones"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
