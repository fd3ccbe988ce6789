"""What went wrong in training is said, stored, shown, and ends a run if the user wants that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import shared_work
from helpers.tiny_runs import TINY, assert_equal_runs, interrupt_after, refused
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cl_suite
from cl_suite.cli import main
from cl_suite.engine.base_watch import BaseTraining
from cl_suite.errors import UserError
from cl_suite.runs import run as run_module
from cl_suite.runs.alarm import in_words
from cl_suite.runs.folder import RunFolder
from cl_suite.testing.several import in_processes

# no BatchNorm, under which a network bears any rate
VIT = "{img_size: 28, patch_size: 7, embed_dim: 32, depth: 2, num_heads: 2}"
NETWORK = ["--model.backbone", "vit_tiny_patch16_224", "--model.backbone_args", VIT]
PAIR = ["run", "omniglot", "finetune", *TINY, *NETWORK, "--training.base_epochs", "4"]
WORSE = "the base session's training has collapsed the features, so that all images look alike: "
WORSE += "class means recognise "


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose network others start from."""
    out = tmp_path_factory.mktemp("learned")
    assert main([*PAIR, "--training.base_epochs", "0", "--out", str(out)]) == 0
    return out / "omniglot/finetune/seed0"


def command(learned: Path, out: Path, lr: float, *more: str) -> list[str]:
    return [
        *PAIR,
        "--model.weights",
        str(learned),
        "--training.lr",
        str(lr),
        "--out",
        str(out),
        *more,
    ]


def of(out: Path) -> RunFolder:
    return RunFolder(out / "omniglot/finetune/seed0")


def base_training(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = of(out).read_run_info()["base_training"]
    return found


# --- in words ---


def test_the_sentence_has_both_figures_and_the_remedy() -> None:
    found = BaseTraining("worse", before=0.7, after=0.4, images=1000)
    assert in_words(found, "--training.lr") == (
        "the base session's training made the network worse: class means recognise 40.0 % of 1,000 "
        "training images after it, and 70.0 % before; lower --training.lr or --training.base_epochs"
    )
    assert "training in 'runs/a' made" in in_words(found, "--x", "runs/a")
    assert in_words(BaseTraining("fine", before=0.7, after=0.4), "--x") == ""
    assert "no more than by chance; lower --x or" in in_words(
        BaseTraining("collapsed", after=0.1), "--x"
    )
    assert "has diverged: its loss or" in in_words(BaseTraining("diverged", before=0.7), "--x")


# --- a run ---


def test_a_healthy_run_is_silent(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(learned, tmp_path, 0.001, "--on-collapse", "stop")) == 0
    captured = capsys.readouterr()
    assert "made the network worse" not in captured.out + captured.err
    assert "collapsed" not in captured.out + captured.err
    found = base_training(tmp_path)
    assert (found["verdict"], found["images"], found["note"]) == ("fine", 120, "")
    assert found["before"] > 2 / 12


def test_a_run_says_that_its_training_made_things_worse(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(learned, tmp_path, 50)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count(f"note: {WORSE}") == 2  # when it is seen, and over the figures
    assert main(["show", str(of(tmp_path).path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"note: {WORSE}" in shown
    found = base_training(tmp_path)
    assert found["verdict"] == "collapsed"
    assert found["after"] < 1 / 12 < 2 / 12 < found["before"]
    assert found["note"].startswith(WORSE)
    assert "lower --training.lr" in found["note"]


def test_a_comparison_names_the_run(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, lr in (("a", 50), ("b", 0.001)):
        assert main(command(learned, tmp_path / out, lr)) == 0
    capsys.readouterr()
    assert main(["show", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("note: finetune, seed 0: ") == 1
    assert f"note: finetune, seed 0: {WORSE}" in shown


def test_the_dashboard_has_both_figures_and_the_sentence(learned: Path, tmp_path: Path) -> None:
    assert main(command(learned, tmp_path, 50)) == 0
    events = EventAccumulator(str(of(tmp_path).path))
    events.Reload()
    found = base_training(tmp_path)
    series = [(e.step, e.value) for e in events.Scalars("base_training/class_means")]
    assert series == [(0, pytest.approx(found["before"])), (1, pytest.approx(found["after"]))]
    (text,) = events.Tensors("base_training/verdict/text_summary")
    assert text.tensor_proto.string_val[0].decode() == found["note"]


def test_the_watch_changes_no_result(learned: Path, tmp_path: Path) -> None:
    for word in ("say", "off"):
        assert main(command(learned, tmp_path / word, 0.01, "--on-collapse", word)) == 0
    assert_equal_runs(of(tmp_path / "say").path, of(tmp_path / "off").path)
    assert "base_training" in of(tmp_path / "say").read_run_info()
    assert "base_training" not in of(tmp_path / "off").read_run_info()
    configs = [of(tmp_path / word).config_file.read_text() for word in ("say", "off")]
    assert configs[0] == configs[1]


# --- stopping, and going on ---


def test_stop_ends_the_run_and_say_goes_on(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = command(learned, tmp_path, 50)
    error = refused(capsys, *given, "--on-collapse", "stop")
    assert error.startswith(f"cl-suite: {WORSE}")
    assert "--on-collapse stop ends the run here" in error
    assert base_training(tmp_path)["verdict"] == "collapsed"
    assert not of(tmp_path).metrics_file.exists()
    # nothing is trained again, so the sentence is the same
    assert refused(capsys, *given, "--on-collapse", "stop", "--resume") == error
    assert base_training(tmp_path)["verdict"] == "collapsed"
    assert main([*given, "--resume"]) == 0
    assert of(tmp_path).read_run_info()["finished"]
    assert main(command(learned, tmp_path / "whole", 50)) == 0
    assert_equal_runs(of(tmp_path).path, of(tmp_path / "whole").path)
    assert base_training(tmp_path) == base_training(tmp_path / "whole") | {
        "seconds": base_training(tmp_path)["seconds"]
    }


def test_a_run_that_is_resumed_within_its_base_session_has_the_same_verdict(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = command(learned, tmp_path, 50)
    with monkeypatch.context() as patched:
        interrupt_after(patched, 1, RuntimeError("killed"))
        with pytest.raises(RuntimeError, match="killed"):
            main(given)
    assert "base_training" not in of(tmp_path).read_run_info()
    assert main([*given, "--resume"]) == 0
    assert main(command(learned, tmp_path / "whole", 50)) == 0
    found, whole = base_training(tmp_path), base_training(tmp_path / "whole")
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}


def test_a_loss_that_is_not_finite_stops_at_its_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["run", "omniglot", "finetune", *TINY, "--training.lr", "1e30", "--out", str(tmp_path)]
    error = refused(capsys, *given, "--on-collapse", "stop")
    assert "in session 0, epoch" in error
    assert "training has diverged; lower --training.lr; --on-collapse stop ends" in error
    folder = of(tmp_path)
    assert folder.read_run_info()["diverged"].startswith("loss is ")
    assert folder.checkpoint_file.exists()
    assert refused(capsys, *given, "--on-collapse", "stop", "--resume") == error


def test_a_program_is_told_too(learned: Path, tmp_path: Path) -> None:
    settings = dict(zip((word[2:] for word in PAIR[3::2]), PAIR[4::2], strict=True))
    settings |= {"model.weights": str(learned), "training.lr": "50"}
    with pytest.raises(UserError, match="has collapsed the features"):
        cl_suite.run(
            "omniglot", "finetune", out=tmp_path, on_collapse="stop", listeners=(), **settings
        )  # type: ignore[arg-type]  # settings by name


def test_a_run_over_tasks_cannot_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "cfsl", "cfsl", "--scenario.task", "0..2", "--on-collapse", "stop"]
    error = refused(capsys, *given, "--out", str(tmp_path / "runs"))
    assert "--on-collapse stop judges one base session" in error
    assert not (tmp_path / "runs").exists()


def test_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "on_collapse" in refused(capsys, *PAIR, "--on-collapse", "cry")


# --- from run to run ---


def test_a_run_that_starts_from_a_spoilt_base_session_says_so(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(learned, tmp_path / "a", 50)) == 0
    start = ["--start-from", str(of(tmp_path / "a").path)]
    capsys.readouterr()
    assert main(command(learned, tmp_path / "b", 50, *start)) == 0
    printed = capsys.readouterr().out
    assert (
        f"note: the base session's training in '{of(tmp_path / 'a').path}' has collapsed" in printed
    )
    there, here = base_training(tmp_path / "a"), base_training(tmp_path / "b")
    assert {**here, "note": ""} == {**there, "note": ""}
    error = refused(capsys, *command(learned, tmp_path / "c", 50, *start, "--on-collapse", "stop"))
    assert "has collapsed the features" in error


# --- files of strangers ---


@pytest.mark.parametrize("value", [3, {"note": 5}, ["x"], {"verdict": "worse"}, None])
def test_a_strange_record_is_shown_as_none(
    value: Any, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = learned / "run.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(kept) | {"base_training": value}))
        capsys.readouterr()
        assert main(["show", str(learned)]) == 0
        assert "note" not in capsys.readouterr().out
    finally:
        file.write_text(kept)


# --- several processes ---


def test_two_processes_see_the_same_and_one_says_it(learned: Path, tmp_path: Path) -> None:
    given = command(learned, tmp_path / "two", 50)
    with pytest.raises(AssertionError):
        in_processes(shared_work.command, 2, tmp_path, [*given, "--on-collapse", "stop"])
    complaints = "".join((tmp_path / f"err{rank}.txt").read_text() for rank in range(2))
    assert complaints.startswith(f"cl-suite: {WORSE}")
    assert complaints.count("\n") == 1
    in_processes(shared_work.command, 2, tmp_path, [*given, "--resume"])
    assert main(command(learned, tmp_path / "one", 50)) == 0
    one, two = base_training(tmp_path / "one"), base_training(tmp_path / "two")
    assert [one[k] for k in ("verdict", "before", "images")] == [
        two[k] for k in ("verdict", "before", "images")
    ]
    assert np.isclose(one["cosine_before"], two["cosine_before"])


# --- the run for which this was built ---


@pytest.mark.slow
@pytest.mark.parametrize(("lr", "epochs", "is_seen"), [(0.1, 10, True), (0.003, 3, False)])
def test_tuning_of_signs_is_seen_at_a_rate_that_is_too_high(
    lr: float,
    epochs: int,
    is_seen: bool,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, weights = (
        shared / name for name in ("data/gtsrb", "weights/deit_tiny_patch16_224.safetensors")
    )
    for path in (data, weights):
        if not path.exists():
            pytest.skip(f"needs '{path}'")

    def measure(*ignored: object) -> None:
        raise KeyboardInterrupt  # the base session is all that is wanted

    monkeypatch.setattr(run_module.Run, "_measure", measure)
    given = ["run", "fscit_gtsrb", "coact", "--scenario.root", str(data), "--out", str(tmp_path)]
    given += ["--model.backbone", "deit_tiny_patch16_224", "--model.weights", str(weights)]
    given += ["--training.lr", str(lr), "--training.base_epochs", str(epochs)]
    given += ["--training.schedule", "constant", "--device", "cpu", "--on-collapse", "stop"]
    code = main(given)
    captured = capsys.readouterr()
    assert code == (2 if is_seen else 130)
    seen = "the base session's training has collapsed the features" in captured.err
    assert seen == is_seen
    assert ("lower --training.lr (or pass auto)" in captured.err) == is_seen
    found = RunFolder(tmp_path / "fscit_gtsrb/coact/seed0").read_run_info()["base_training"]
    assert found["images"] == 70
    assert (found["after"] < found["before"] - 0.1) == is_seen
