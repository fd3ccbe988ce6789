"""A run validates its own files, says what it trains, and refuses in one sentence."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import TINY, refused
from safetensors.torch import save_file

import cl_suite
from cl_suite.cli import main
from cl_suite.engine.evaluation import Predictions
from cl_suite.errors import UserError
from cl_suite.models.backbones import create_backbone
from cl_suite.runs.confusion_file import MOST_DRAWN, store_confusion, stored_confusion
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.listener import Listener
from cl_suite.runs.saved_model import load_model
from cl_suite.storage import checkpoint

SETTINGS: dict[str, Any] = {
    "scenario.base_classes": 12,
    "scenario.way": 115,
    "scenario.shots": 2,
    "training.base_epochs": 2,
    "training.incremental_epochs": 1,
}


class Saying(Listener):
    def __init__(self, stop_at: int | None = None) -> None:
        self.said: list[str] = []
        self.stop_at = stop_at

    def says(self, text: str) -> None:
        self.said.append(text)

    def session_starts(self, session: int, num_epochs: int, epochs_done: int) -> None:
        if session == self.stop_at:
            raise KeyboardInterrupt


def run(out: Path, strategy: str = "finetune", **changed: Any) -> RunFolder:
    settings = {"device": "cpu", "listeners": (), **SETTINGS, **changed}
    return RunFolder(cl_suite.run("omniglot", strategy, out=out, **settings))


def stopped(out: Path, **changed: Any) -> RunFolder:
    with pytest.raises(KeyboardInterrupt):
        run(out, listeners=[Saying(stop_at=1)], **changed)
    return RunFolder(out / "omniglot/finetune/seed0")


# --- confusions grow with the samples ---


def test_a_confusion_file_grows_with_the_samples_not_with_the_classes(tmp_path: Path) -> None:
    sizes = []
    for num_classes in (4, 60_002):
        labels = torch.tensor([0, 1, num_classes - 1])
        found = Predictions(labels, torch.tensor([0, 0, num_classes - 1]), num_classes)
        folder = RunFolder(tmp_path / str(num_classes))
        store_confusion(folder, 0, found)
        sizes.append(folder.confusion_file(0).stat().st_size)
        matrix = stored_confusion(folder, 0, [num_classes - 1, 0, 1])
        assert matrix is not None
        assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert sizes[1] < 2 * sizes[0]


def test_many_classes_share_rows_of_the_picture(tmp_path: Path) -> None:
    num_classes = 3 * MOST_DRAWN - 1
    labels = torch.arange(num_classes)
    store_confusion(RunFolder(tmp_path), 0, Predictions(labels, labels, num_classes))
    matrix = stored_confusion(RunFolder(tmp_path), 0, range(num_classes))
    assert matrix is not None
    assert matrix.shape == (MOST_DRAWN, MOST_DRAWN)
    assert matrix.diagonal().tolist() == [3] * (MOST_DRAWN - 1) + [2]


def test_a_confusion_file_of_version_0_1_is_drawn_too(tmp_path: Path) -> None:
    square = torch.tensor([[2, 1], [0, 3]]).numpy()
    checkpoint.save(RunFolder(tmp_path).confusion_file(0), {"confusion": square})
    matrix = stored_confusion(RunFolder(tmp_path), 0, [0, 1])
    assert matrix is not None
    assert matrix.tolist() == square.tolist()


# --- damage ---


def test_a_damaged_base_session_does_not_survive_a_resume(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    content = bytearray(folder.base_file.read_bytes())
    content[-1] ^= 0x41
    folder.base_file.write_bytes(content)
    saying = Saying()
    run(tmp_path, resume=True, listeners=[saying])
    assert not folder.base_file.exists()
    assert any("base.safetensors' is damaged" in text for text in saying.said)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"accuracy": float("nan")}, "accuracy must be a finite number, got nan"),
        ({"accuracy": 1.5}, r"accuracy must be in \[0, 1\], got 1.5"),
        ({"accuracy": True}, "accuracy must be a number, got True"),
        ({"seconds_train": float("inf")}, "seconds_train must be a finite number"),
        ({"session": 7}, "session must be 0, got 7"),
    ],
)
def test_figures_that_cannot_be_are_refused(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    names = ("accuracy", "base", "new", "harmonic", "forgetting")
    record = {"session": 0, "seconds_train": 1.0, "seconds_eval": 1.0, "seen_classes": 3}
    content = record | dict.fromkeys(names, 0.5) | change
    (tmp_path / "metrics.jsonl").write_text(json.dumps(content))
    with pytest.raises(UserError, match=sentence):
        RunFolder(tmp_path).read_metrics()


@pytest.mark.parametrize("name", ["metrics.jsonl", "hits.npz", "config.yaml", "run.json"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    folder = RunFolder(tmp_path)
    read = {
        "metrics.jsonl": folder.read_metrics,
        "hits.npz": folder.read_hits,
        "config.yaml": folder.read_config,
        "run.json": folder.read_run_info,
    }[name]
    with pytest.raises(UserError, match="it is a folder, and a file is expected"):
        read()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "[" * 100_000),
        ("run.json", '{"a": ' * 60 + "1" + "}" * 60),
        ("config.yaml", "[" * 5_000),
        ("config.yaml", "a: &a {b: *a}\n"),
    ],
)
def test_files_nested_too_deeply_are_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError, match="nested too deeply"):
        folder.read_run_info() if name == "run.json" else folder.read_config()


@pytest.mark.parametrize(
    "content", ["[" * 5_000, "a: &a {b: *a}\n", "\x00", "2020-13-45", "seed: {a: {b: 1}}"]
)
def test_a_damaged_config_file_is_refused_in_a_sentence(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    refused(capsys, "run", "omniglot", "teen", "--config", str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "omniglot", "teen", "--config", "."],
        ["run", "omniglot", "prototype", *TINY, "--out", "x" * 5000],
        ["run", "omniglot", "prototype", *TINY, "--start-from", "x" * 5000],
        ["run", "omniglot", "prototype", *TINY, "--model.weights", "x" * 5000],
        ["show", "x" * 5000],
        ["run", "omniglot", "prototype", *TINY, "--training.batch_size", str(2**63)],
        ["run", "omniglot", "prototype", *TINY, "--training.eval_batch_size", str(2**63)],
        ["run", "omniglot", "prototype", *TINY, "--training.num_workers", str(2**63)],
    ],
)
def test_paths_and_numbers_that_cannot_be_used_get_a_sentence(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(refused(capsys, *arguments)) < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["read_text", "exists"])
def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    (tmp_path / "run.json").write_text("{}")

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(UserError, match=r"run\.json' cannot be read: you have no permission"):
        RunFolder(tmp_path).read_run_info()


@pytest.mark.parametrize("where", ["checkpoint", "model", "probes"])
def test_a_file_where_a_run_needs_a_folder_is_refused_in_a_sentence(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "omniglot", "finetune", *TINY, "--out", str(tmp_path)]
    command += ["--evaluation.probes", "[knn]"]
    (tmp_path / "omniglot/finetune/seed0").mkdir(parents=True)
    (tmp_path / "omniglot/finetune/seed0" / where).write_text("in the way")
    assert "cannot be written" in refused(capsys, *command)


# --- model files ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("finished"), "prototype")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"settings": {"backbone": "conv4", "of_tomorrow": 1}}, "a newer version of cl-suite"),
        ({"settings": {"backbone": 4}}, "backbone must be text, got 4"),
        ({"settings": None}, "its 'settings' is missing"),
        ({"strategy": {"name": 3, "parameters": {}}}, "its 'strategy' is missing"),
        ({"class_names": "abc"}, "its 'class_names' is missing or of another kind"),
        ({"class_names": [1, 2]}, "its class names are no texts"),
        ({"input_shape": ["x"]}, r"its input shape is \['x'\]"),
        ({"model": {"a": 1}}, "its 'model' holds no tensors"),
    ],
)
def test_a_model_file_of_another_version_is_refused_in_a_sentence(
    finished: RunFolder, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    tree = checkpoint.load(finished.model_file) | change
    folder = RunFolder(tmp_path)
    checkpoint.save(folder.model_file, tree)
    with pytest.raises(UserError, match=sentence):
        load_model(folder)


@pytest.mark.parametrize("header", ["[]", "3", '{"format": "cl-suite-1"}', "[" * 100_000])
def test_a_checkpoint_with_other_metadata_is_refused(tmp_path: Path, header: str) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "c", metadata={"cl_suite": header})
    with pytest.raises(UserError, match=r"damaged|another version"):
        checkpoint.load(tmp_path / "c")


def test_a_checkpoint_without_an_entry_is_refused(tmp_path: Path) -> None:
    folder = stopped(tmp_path)
    tree = checkpoint.load(folder.checkpoint_file)
    del tree["engine"]["progress"]
    checkpoint.save(folder.checkpoint_file, tree)
    with pytest.raises(UserError, match="does not fit this run"):
        run(tmp_path, resume=True)


# --- weights ---


def test_weights_are_named_with_their_digest_and_others_are_refused(tmp_path: Path) -> None:
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        body = create_backbone("conv4", (1, 28, 28)).body
        save_file(body.state_dict(), tmp_path / f"{name}.safetensors")
    weights = tmp_path / "first.safetensors"
    saying = Saying(stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listeners=[saying], **{"model.weights": str(weights)})
    digest = RunFolder(tmp_path / "omniglot/finetune/seed0").read_run_info()["backbone_weights"]
    assert f"backbone weights: {weights}, digest {digest[:12]}" in saying.said
    (tmp_path / "second.safetensors").rename(weights)
    with pytest.raises(UserError, match="started from other backbone weights"):
        run(tmp_path, resume=True, **{"model.weights": str(weights)})


# --- divergence ---


@pytest.mark.parametrize("strategy", ["ranpac", "finetune", "lda", "teen"])
def test_a_rate_that_is_far_too_high_ends_in_words(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "omniglot", strategy, *TINY, "--training.lr", "1e9", "--out", str(tmp_path)]
    code = main(command)
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert captured.out.count("training has diverged") + captured.err.count("diverged") >= 1
    assert captured.out.count("training has diverged") <= 2  # once more over the figures
