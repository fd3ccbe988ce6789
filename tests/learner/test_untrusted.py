"""A classifier file from a stranger neither reads, fetches nor runs anything, nor fills memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.learners import SIDE, pictures, tiny_learner

from cl_suite.cli import main
from cl_suite.errors import UserError
from cl_suite.learner import store
from cl_suite.learner.extractor import spec_of
from cl_suite.learner.learner import Learner
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.storage import checkpoint

Tree = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    learner = tiny_learner()
    learner.learn(pictures(3, of=1), "one")
    learner.save(tmp_path / "a.clm")
    return tmp_path / "a.clm"


def forge(path: Path, change: Callable[[Tree], object]) -> None:
    tree = checkpoint.load(path, kind=store.KIND)
    change(tree)
    checkpoint.save(path, tree, store.KIND)


def settings(**values: Any) -> Callable[[Tree], object]:
    return lambda tree: tree["backbone"]["settings"].update(values)


def backbone(**values: Any) -> Callable[[Tree], object]:
    return lambda tree: tree["backbone"].update(values)


def whole(**values: Any) -> Callable[[Tree], object]:
    return lambda tree: tree.update(values)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a network or reaching the hub fails the test."""

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("something was built or fetched")

    monkeypatch.setattr("timm.create_model", touched)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", touched)
    monkeypatch.setattr("transformers.CLIPTokenizer.from_pretrained", touched)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (settings(backbone="hf-hub:stranger/model"), "does not choose what is downloaded"),
        (settings(backbone="clip:stranger/model"), "does not choose what is downloaded"),
        (settings(backbone="wav2vec2:stranger/model"), "does not choose what is downloaded"),
        (settings(backbone="whisper:stranger/model"), "does not choose what is downloaded"),
        (settings(backbone_args={"checkpoint_path": "/etc/passwd"}), "'checkpoint_path', which"),
        (settings(backbone_args={"pretrained_cfg": {"url": "x"}}), "'pretrained_cfg', which"),
        (settings(backbone_args={"pretrained_cfg_overlay": {}}), "'pretrained_cfg_overlay'"),
        (settings(backbone_args={"cache_dir": "/tmp"}), "'cache_dir', which"),
        (settings(backbone_args={"norm": [torch.zeros(1)]}), "'norm', which"),
        (settings(backbone_args={"embed_dim": 10**9}), "'embed_dim' is above"),
        (settings(pretrained=True), "no digest"),
        (settings(weights="/dev/zero"), "no digest"),
        (settings(beside="resnet10t", beside_weights="/dev/zero"), "network names weights"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_file_does_not_choose_what_is_read_or_fetched(
    path: Path, change: Callable[[Tree], object], sentence: str
) -> None:
    forge(path, settings(backbone="test_vit"))
    forge(path, change)
    with pytest.raises(UserError, match=sentence):
        Learner.load(path)


@pytest.mark.usefixtures("no_network")
def test_weights_that_are_here_do_not_let_a_file_name_a_place_to_fetch_from(path: Path) -> None:
    forge(path, settings(backbone="hf-hub:stranger/model", weights=str(path)))
    forge(path, backbone(published="0" * 32))
    with pytest.raises(UserError, match="does not choose what is downloaded"):
        Learner.load(path)


def test_weights_that_are_no_file_are_not_read(path: Path) -> None:
    forge(path, settings(weights="/dev/zero"))
    forge(path, backbone(published="0" * 32))
    with pytest.raises(UserError, match="'/dev/zero' are no file"):
        Learner.load(path)


BAD: dict[str, Callable[[Tree], object]] = {
    "unknown setting": settings(nothing=1),
    "settings": backbone(settings=None),
    "setting": settings(frozen="x"),
    "arguments": settings(backbone_args=[1]),
    "strategy": backbone(strategy={"name": "simclr", "parameters": {"nothing": 1}}),
    "half a strategy": backbone(strategy={"name": "simclr"}),
    "no strategy": backbone(strategy=[3]),
    "preparation": backbone(prepare={"kind": "Nothing"}),
    "size": backbone(prepare={"kind": "Resize", "size": "a"}),
    "large size": backbone(prepare={"kind": "Resize", "size": 10**7}),
    "other size": backbone(prepare={"kind": "Resize", "size": SIDE + 1}),
    "large input": backbone(input_shape=[3, 60000, 60000]),
    "tensors": backbone(tensors=[1]),
    "published": backbone(published=3),
    "rate": whole(false_alarms="x"),
    "no rate": lambda tree: tree.pop("false_alarms"),
    "note": whole(note=3),
    "history": whole(history=[3]),
    "half a step": whole(history=[{"step": "start"}]),
    "label": whole(labels=["\x1b[31mred"]),
    "count": whole(counts=[10**30]),
    "list longer than memory": whole(counts=[10**12]),
    "not finite": lambda tree: tree["totals"].fill_(float("nan")),
    "float64": lambda tree: tree.update(features=tree["features"].double()),
    "moments": whole(has_moment=[True], moments=None),
    "pooled": whole(pooled=torch.zeros(2, 2, dtype=torch.float64)),
    "large rule": lambda tree: tree["rule"].update(
        name="ranpac", parameters={"num_projections": 10**9}
    ),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_forged_parts_get_a_sentence(path: Path, change: Callable[[Tree], object]) -> None:
    forge(path, change)
    with pytest.raises(UserError):
        Learner.load(path)


def test_what_a_file_says_does_not_steer_the_terminal(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {"step": "forget", "label": "\x1b]0;x\x07", "when": "\x1b[2J"}
    forge(path, whole(note="\x1b[2Jgone", history=[step]))
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "gone" in told.out


def test_a_network_that_was_read_from_elsewhere_is_stored_without_the_place() -> None:
    learner = tiny_learner()
    given = ModelConfig(backbone="test_vit", backbone_args={"drop_rate": 0.1})
    model = build_classifier(given, (3, 160, 160))
    given = dataclasses.replace(given, backbone_args={"drop_rate": 0.1, "checkpoint_path": "a.pth"})
    spec = spec_of(model, given, {}, (3, 160, 160), learner.extractor.prepare)
    assert spec.settings["backbone_args"] == {"drop_rate": 0.1}


def test_without_its_backbone_it_sees_no_picture_and_says_so(path: Path) -> None:
    learner = Learner.load(path, with_backbone=False)
    for use in (learner.predict, learner.look):
        with pytest.raises(UserError, match="loaded without its backbone"):
            use(pictures(1, of=1))
