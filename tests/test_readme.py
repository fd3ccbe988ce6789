"""The README: its Python runs, and its commands and files exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_runs import run

from cl_suite import registry
from cl_suite.cli import COMMANDS
from cl_suite.learner.commands.arguments import HELP, parse
from cl_suite.runs.config import build_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_the_avalanche_example_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "TEENPlugin" in text]
    (tmp_path / "program.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    accuracies = [float(line.split()[1]) for line in result.stdout.splitlines()]
    assert len(accuracies) == 3
    assert accuracies[0] > 0.9
    assert accuracies[2] > 0.7


def test_the_example_strategy_learns_class_means() -> None:
    import torch
    from helpers.tiny_streams import make_stream

    from cl_suite.engine.engine import Engine
    from cl_suite.engine.training import TrainingConfig
    from cl_suite.models.classifier import build_classifier
    from cl_suite.models.settings import ModelConfig

    (code,) = [text for kind, text in BLOCKS if kind == "python" and "MeanPlugin" in text]
    namespace: dict[str, type] = {}
    exec(code, namespace)
    stream = make_stream()
    torch.manual_seed(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=0, batch_size=16)
    engine = Engine(stream, model, namespace["MeanPlugin"](), recipe)
    for session in range(3):
        engine.train_session(session)
    assert sorted(model.head.classes) == list(range(8))


def test_the_learner_example_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "Learner" in text]
    run(tmp_path / "runs", "teen")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.stdout == "house\n", result.stderr
    assert (tmp_path / "characters.clm").is_file()


def commands() -> list[list[str]]:
    text = "".join(text for kind, text in BLOCKS if kind == "sh")
    lines = [shlex.split(line.split("#")[0].split(">")[0]) for line in text.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "cl-suite"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_things_that_exist(words: list[str]) -> None:
    if words[0] == "run" and not words[1].startswith("-"):
        pair = registry.get("scenario", words[1]), registry.get("strategy", words[2])
        defaults = build_parser(*pair).get_defaults()
        extra = {"help", "print_config", "start-from", "resume", "seed", "out"}
        for word in words[3:]:
            if word.startswith("--"):
                assert word[2:] in extra or word[2:] in defaults
    else:
        assert words[0] in COMMANDS
        if words[0] in HELP:
            parse(words)


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`?make (\w+)`?", README):
        assert f"\n{target}:" in makefile
