"""CLIP-LoRA: the oracles of its specification, and its sessions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_clip import load_tiny_clip, write_tiny_clip
from helpers.tiny_clip_stream import clip_engine, colour_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.hub.clip import ClipBody
from cl_suite.models.settings import ModelConfig
from cl_suite.storage import checkpoint
from cl_suite.strategies.clip_lora import CLIPLoRAPlugin, add_lora, cosine, session_steps

TRAINING: dict[str, Any] = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def adapted(folder: Path) -> ClipBody:
    body = load_tiny_clip(folder).eval()
    torch.manual_seed(1)
    add_lora(body, rank=2, alpha=1.0, dropout=0.25)
    return body.eval()


def with_random_adapters(folder: Path) -> ClipBody:
    body = adapted(folder)
    for name, parameter in body.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return body


def images() -> Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, engine.stream.info.num_sessions):
        engine.train_session(session)
    return engine


def test_vit_b_16_trains_184320_parameters_at_rank_2() -> None:
    from transformers import CLIPConfig, CLIPModel

    with torch.device("meta"):  # shapes alone: no memory, no time
        body = ClipBody(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))
        add_lora(body, rank=2, alpha=1.0, dropout=0.25)

    def trained(tower: nn.Module) -> int:
        return sum(p.numel() for p in tower.parameters() if p.requires_grad)

    assert trained(body.clip.vision_model) == 110_592
    assert trained(body.clip.text_model) == 73_728
    assert trained(body) == 184_320


@torch.no_grad()
def test_a_fresh_adapter_changes_no_bit(folder: Path) -> None:
    plain, body = load_tiny_clip(folder).eval(), adapted(folder)
    assert body(images()).equal(plain(images()))
    assert body.embed_names(["cat"]).equal(plain.embed_names(["cat"]))


def test_query_key_and_value_of_both_towers_learn_and_nothing_else(folder: Path) -> None:
    body = adapted(folder)
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name in trained)
    layers = {name.rsplit(".lora_", 1)[0] for name in trained}
    assert layers == {
        f"clip.{tower}_model.encoder.layers.{i}.self_attn.{part}_proj"
        for tower in ("text", "vision")
        for i in range(2)
        for part in "qkv"
    }


@torch.no_grad()
def test_an_adapter_adds_b_a_x_over_the_root_of_the_rank(folder: Path) -> None:
    layer = with_random_adapters(folder).clip.text_model.encoder.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == pytest.approx(0.70710678, abs=5e-9)
    x = torch.randn(4, 32)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.testing.assert_close(layer(x), layer.base_layer(x) + (x @ a.T @ b.T) / math.sqrt(2))


@torch.no_grad()
def test_merged_adapters_compute_the_same_and_come_out_again(folder: Path) -> None:
    body = with_random_adapters(folder)
    layers = [part for part in body.modules() if hasattr(part, "merge")]
    expected = body(images())
    before = [layer.base_layer.weight.clone() for layer in layers]  # type: ignore[union-attr]
    for layer in layers:
        layer.merge()
    torch.testing.assert_close(body(images()), expected, rtol=0, atol=1e-5)
    for layer in layers:
        layer.unmerge()
    for layer, weight in zip(layers, before, strict=True):
        torch.testing.assert_close(layer.base_layer.weight, weight, rtol=0, atol=1e-6)


def test_adapters_are_added_once(folder: Path) -> None:
    engine = clip_engine(folder, CLIPLoRAPlugin())
    before = list(engine.model.state_dict())
    engine.plugin.prepare_model(engine.model)
    assert list(engine.model.state_dict()) == before


@pytest.mark.parametrize(
    ("shots", "steps_an_epoch", "epochs", "expected"),
    [
        (5, 1, 2500, 2500),  # five shots: 2500 steps, if the recipe allows so many epochs
        (5, 1, 100, 100),
        (16, 500, 100, 8000),  # 1000 classes: 16 epochs
        (1, 7, 100, 504),  # 500 steps in whole epochs
        (5, 1, 0, 0),
    ],
)
def test_steps_of_a_session(shots: int, steps_an_epoch: int, epochs: int, expected: int) -> None:
    assert session_steps(shots, steps_an_epoch, epochs, per_shot=500) == expected


def test_the_cosine_goes_from_the_full_rate_to_the_lowest() -> None:
    assert [cosine(2e-4, 1e-6, x) for x in (0, 0.5, 1)] == pytest.approx([2e-4, 1.005e-4, 1e-6])


def test_each_session_runs_through_the_cosine_step_by_step(folder: Path) -> None:
    engine = clip_engine(folder, CLIPLoRAPlugin(min_lr=0.001), **TRAINING)
    rates: list[float] = []
    engine.on_batch = lambda *_: rates.append(engine.template.optimizer.param_groups[0]["lr"])
    for session, steps in enumerate((6, 2)):  # 48 images, then 6, in batches of 16, two epochs
        rates.clear()
        engine.train_session(session)
        assert rates == pytest.approx([cosine(0.01, 0.001, i / steps) for i in range(steps)])


def test_a_session_ends_after_its_steps_and_the_next_one_is_trained(folder: Path) -> None:
    plugin = CLIPLoRAPlugin(iterations_per_shot=1)
    engine = clip_engine(folder, plugin, base_epochs=9, incremental_epochs=9, **TRAINING)
    epochs: list[int] = []
    engine.on_epoch = lambda record: epochs.append(record.session)
    train(engine)
    assert epochs == [0] * 4 + [1] * 3 + [2] * 3  # 12 shots in 3 steps an epoch; 3 shots in 1


def test_adapters_alone_change_and_go_on_learning(folder: Path) -> None:
    engine = clip_engine(folder, CLIPLoRAPlugin(), **TRAINING)
    for session in range(3):
        before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
        engine.train_session(session)
        after = engine.model.backbone.state_dict()
        changed = {name for name in before if not after[name].equal(before[name])}
        assert changed == {name for name in before if "lora_" in name}


@pytest.mark.parametrize(("all_classes", "expected"), [(False, {1, 6}), (True, {0, 1, 2, 5, 6, 7})])
def test_the_softmax_runs_over_the_sessions_classes_or_all_seen(
    folder: Path, all_classes: bool, expected: set[int]
) -> None:
    engine = clip_engine(folder, CLIPLoRAPlugin(all_classes=all_classes), **TRAINING)
    engine.train_session(0)
    scored: list[set[int]] = []

    def watch(_: Any, __: Any, logits: Tensor) -> None:
        if engine.model.training:
            scored.append({c for c in range(8) if logits[0, c].isfinite()})

    engine.model.head.register_forward_hook(watch)
    engine.train_session(1)
    assert scored == [expected] * 2


def test_after_a_session_every_row_is_the_names_embedding_by_the_new_adapters(
    folder: Path,
) -> None:
    engine = train(clip_engine(folder, CLIPLoRAPlugin(), **TRAINING))
    body = engine.model.backbone.body
    assert isinstance(body, ClipBody)
    names = list(engine.stream.info.class_names)
    expected = body.embed_names(names, "a photo of a {}.")
    torch.testing.assert_close(engine.model.head.rows(list(range(8))), expected)
    untrained = load_tiny_clip(folder).embed_names(names, "a photo of a {}.")
    assert (expected - untrained).abs().max() > 1e-3


def test_training_lowers_the_loss(folder: Path) -> None:
    losses: list[float] = []
    engine = clip_engine(folder, CLIPLoRAPlugin(), **{**TRAINING, "base_epochs": 12})
    engine.on_epoch = lambda record: losses.append(record.loss or 0.0)
    engine.train_session(0)
    assert losses[-1] < 0.8 * losses[0]


def test_a_stop_within_or_between_sessions_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    def make() -> Engine:
        return clip_engine(folder, CLIPLoRAPlugin(), **TRAINING)

    engine, saved = make(), []

    def save(next_session: int) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected, hits = engine.model.state_dict(), engine.evaluate(2)
    for path, next_session in saved:
        resumed = make()
        torch.rand(7)  # dropout must go on with the saved random numbers
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, next_session)
        found = resumed.model.state_dict()
        assert [k for k in expected if not found[k].equal(expected[k])] == [], path.stem
        assert resumed.evaluate(2).equal(hits)


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_it_works_in_a_bare_template(folder: Path) -> None:
    stream = colour_stream()
    model = build_classifier(
        ModelConfig(backbone=f"clip:{folder}", weights=str(folder)), stream.info.input_shape
    )
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[CLIPLoRAPlugin(class_names=list(stream.info.class_names))],
        evaluator=api.EvaluationPlugin(loggers=[]),
    )
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    template.eval(benchmark(stream).test_stream)
    moved = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert all(p.abs().max() > 0 for p in moved)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"dropout": 1.5}, r"dropout must be in \[0, 1\]"),
        ({"min_lr": -1.0}, "min_lr must be at least 0, or null, got -1"),
    ],
)
def test_parameters_out_of_range_are_refused(
    folder: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        clip_engine(folder, CLIPLoRAPlugin(**parameters))


def test_a_backbone_asked_to_stay_frozen_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.frozen=True forbids"):
        clip_engine(folder, CLIPLoRAPlugin(), frozen=True)
