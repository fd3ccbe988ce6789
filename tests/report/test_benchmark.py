"""The command `cl-suite benchmark`, from its arguments to its tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers.tiny_runs import SETTINGS

from cl_suite import registry
from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.report.benchmark import chosen_by
from cl_suite.report.benchmark_command import run_benchmark

PROTOCOL = {
    "scenarios": ["omniglot"],
    "reference": "prototype",
    "strategies": ["teen"],
    "share_base": ["teen"],
    "draws": {
        "drawn": {
            "set": {"scenario.shot_selection": "random"},
            "grid": {"scenario.shot_seed": [0, 1]},
        },
        "together": {"similar": "together", "set": {"scenario.shot_selection": "random"}},
    },
}


def written(folder: Path) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(PROTOCOL))
    return str(path)


def settings() -> list[str]:
    return [f"--{name}={value}" for name, value in SETTINGS.items()]


def test_without_a_name_the_protocols_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark"]) == 0
    out = capsys.readouterr().out
    assert "fscil" in out
    assert "few_shot_tasks" in out


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["benchmark", written(tmp_path), "--out", str(out), "--dry-run", *settings()]
    assert main(command) == 0
    assert not out.exists()
    assert "4 runs, then 2 on orders" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fscil", "spoken_digits"], "benchmark 'fscil' is not for scenario 'spoken_digits'"),
        (["fscil", "omniglott"], "scenario 'omniglott' is unknown"),
        (["fscil", "omniglot", "--strategies", "tean"], "strategy 'tean' is unknown"),
        (["fscil", "omniglot", "--training.lr"], "--training.lr has no value"),
        (["fscil", "omniglot", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["fscil", "omniglot", "--jobs", "0"], "--jobs must be from 1 to 4096, got 0"),
        (["fscil", "omniglot", "--training.lr=x"], "training.lr"),
        (["fscil", "omniglot", "--tune.scenario.root", "x"], "needs --tune-on SCENARIO"),
        (["fscil", "omniglot", "--tune-on", "omniglot", "--ray"], "is the tested stream itself"),
        (["fscil", "omniglot", "--tune-on", "mini_imagenet"], "pass --ray"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=sentence):
        run_benchmark([*arguments, "--out", str(out)])
    assert not out.exists()


@pytest.mark.slow
def test_a_benchmark_runs_compares_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["benchmark", written(tmp_path), "--out", str(out), *settings()]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "over the draws of 'drawn'" in text
    assert "vs prototype" in text
    assert "cosine within sessions" in text
    assert "forward k" in " ".join(text.split())
    record = json.loads((out / "benchmark.json").read_text())
    assert [run["draws"] for run in record["runs"]].count("together") == 2
    described = [line.split() for line in text.splitlines() if line.startswith(("drawn", "tog"))]
    cosines = {words[0]: float(words[2]) for words in described if len(words) == 3}
    assert cosines["together"] > cosines["drawn"]
    # both draws of shots, and the other row, start from one base session
    bases = [p for p in out.rglob("config.yaml") if "start_from: null" in p.read_text()]
    assert len(bases) == 2
    written_at = {p: p.stat().st_mtime_ns for p in out.rglob("run.json")}
    assert main(command) == 0
    assert written_at == {p: p.stat().st_mtime_ns for p in out.rglob("run.json")}


@pytest.mark.parametrize(
    ("strategy", "rate", "settings", "ways"),
    [
        ("teen", 0.1, {}, "defaults"),
        ("lda", 0.1, {}, "fake sessions"),
        ("teen", "auto", {}, "fake sessions"),
        ("lda", 0.1, {"training.base_epochs": "3"}, "fake sessions + given"),
        ("finetune", 0.1, {"scenario.way": "3"}, "tuned elsewhere"),
    ],
)
def test_a_row_says_how_its_parameters_were_chosen(
    strategy: str, rate: object, settings: dict[str, str], ways: str
) -> None:
    plugin = registry.get("strategy", strategy).load()()
    config = SimpleNamespace(strategy=plugin, training=SimpleNamespace(lr=rate))
    cell = SimpleNamespace(strategy=strategy, trial=SimpleNamespace(config=config))
    wanted = SimpleNamespace(
        protocol=SimpleNamespace(rows={}), settings=settings, tuned={"finetune": {}}
    )
    assert chosen_by(wanted, cell) == ways  # type: ignore[arg-type]  # what it reads of them
