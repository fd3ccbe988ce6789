"""CPE-CLIP: the oracles of its specification that need training (O1, O5 to O7, O9), and its ways.

Those of the towers (O2 to O4, O8) are in tests/models/test_clip.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_clip import load_tiny_clip, write_tiny_clip
from helpers.tiny_clip_stream import clip_engine, colour_stream
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.avalanche import api, benchmark
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.hub.clip import ClipBody
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.config import build_parser
from cl_suite.storage import checkpoint
from cl_suite.strategies.cpe_clip import (
    WARM_UP,
    CPECLIPPlugin,
    scale_learning_rate,
    share_of_new_classes,
)
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin

RATES = (0.05,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def body_of(engine: Engine) -> ClipBody:
    body = engine.model.backbone.body
    assert isinstance(body, ClipBody)
    return body


def prompts_of(engine: Engine) -> dict[str, Tensor]:
    prompts = body_of(engine).prompts
    assert prompts is not None
    return {name: value.clone() for name, value in prompts.state_dict().items()}


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, engine.stream.info.num_sessions):
        engine.train_session(session)
    return engine


def test_o1_prompts_and_their_map_are_all_that_is_trained(folder: Path) -> None:
    engine = clip_engine(folder, CPECLIPPlugin())
    trained = {name: p.numel() for name, p in engine.model.named_parameters() if p.requires_grad}
    prefix = "backbone.body.prompts."
    assert trained == {
        f"{prefix}rows": 2 * 2 * 32,
        f"{prefix}to_vision.weight": 32 * 48,
        f"{prefix}to_vision.bias": 48,
    }


def test_preparing_a_prepared_network_changes_nothing(folder: Path) -> None:
    engine = clip_engine(folder, CPECLIPPlugin())
    before, prompts = prompts_of(engine), body_of(engine).prompts
    engine.plugin.prepare_model(engine.model)
    assert body_of(engine).prompts is prompts
    assert all(value.equal(before[name]) for name, value in prompts_of(engine).items())


@pytest.mark.parametrize(
    ("base", "way", "expected"),
    [
        (60, 5, [0.076923, 0.071429, 0.066667, 0.0625, 0.058824, 0.055556, 0.052632, 0.05]),
        (100, 10, [0.090909, 0.083333, 0.076923, 0.071429, 0.066667, 0.0625, 0.058824, 0.055556]),
    ],
)
def test_o5_gentleness_of_the_published_streams(base: int, way: int, expected: list[float]) -> None:
    found = [share_of_new_classes(way, base + way * session) for session in range(1, 9)]
    assert found == pytest.approx(expected, abs=5e-7)
    assert share_of_new_classes(base, base) == 1


def step_of_second_session(folder: Path, stream: Stream, optimizer: str, **plugin: Any) -> Tensor:
    """Return by how much one training step of session 1 moves the prompts."""
    settings = {"lr_per_epoch": RATES, "incremental_batch_size": None, **plugin}
    engine = clip_engine(
        folder,
        CPECLIPPlugin(**settings),
        stream,
        optimizer=optimizer,
        momentum=0.0,
        base_epochs=1,
        incremental_epochs=1,
    )
    engine.train_session(0)
    before = prompts_of(engine)["rows"]
    engine.train_session(1)
    return prompts_of(engine)["rows"] - before


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_o5_a_step_of_the_second_session_is_lambda_times_the_unscaled_one(
    folder: Path, optimizer: str
) -> None:
    # 24 classes and 2 new ones, as 60 and 5: lambda is 1 / 13
    stream = colour_stream([list(range(24)), [24, 25]], base_shots=1)
    gentle = step_of_second_session(folder, stream, optimizer)
    full = step_of_second_session(folder, stream, optimizer, regularize=False)
    assert full.abs().max() > 1e-5
    torch.testing.assert_close(gentle, 0.07692308 * full, rtol=1e-3, atol=1e-7)


def test_o5_adam_ignores_scaled_gradients() -> None:
    # why lambda is a factor of the learning rate
    moved = []
    for factor in (1.0, 1 / 13):
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = torch.optim.Adam([weight], lr=0.1)
        weight.grad = factor * torch.tensor([0.3, -0.7])
        optimizer.step()
        moved.append(weight.detach().clone())
    torch.testing.assert_close(moved[0], moved[1])


def test_the_learning_rate_is_scaled_from_where_it_began_however_often() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    for factor in (0.5, 0.25):
        scale_learning_rate(optimizer, factor)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * factor)
    assert optimizer.param_groups[0]["initial_lr"] == pytest.approx(0.1)


@pytest.mark.parametrize("plugin", [{}, {"lr_per_epoch": None}])
def test_learning_rates_of_each_epoch(folder: Path, plugin: dict[str, Any]) -> None:
    engine = clip_engine(folder, CPECLIPPlugin(**plugin), lr=0.005, incremental_epochs=7)
    rates: list[float] = []
    engine.on_epoch = lambda record: rates.append(record.learning_rate)
    train(engine)
    ramp = [0.005] * 7 if plugin else [*WARM_UP, 0.0109]
    shares = [1.0] * 2 + [2 / 6] * 7 + [2 / 8] * 7
    expected = [lr * share for lr, share in zip(ramp[:2] + ramp + ramp, shares, strict=True)]
    assert rates == pytest.approx(expected)


def test_o6_old_classes_take_no_part_in_the_loss(folder: Path) -> None:
    engine = clip_engine(folder, CPECLIPPlugin())
    engine.train_session(0)
    scored: list[set[int]] = []

    def watch(_: Any, __: Any, logits: Tensor) -> None:
        if engine.model.training:
            scored.append({c for c in range(8) if logits[0, c].isfinite()})

    engine.model.head.register_forward_hook(watch)
    engine.train_session(1)
    assert scored == [{1, 6}] * 4  # 6 images in batches of 4, two epochs


def test_o7_a_session_leaves_clip_bitwise_unchanged_and_moves_both_learned_parts(
    folder: Path,
) -> None:
    engine = clip_engine(folder, CPECLIPPlugin(lr_per_epoch=RATES))
    before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    train(engine)
    after = engine.model.backbone.state_dict()
    changed = {name for name in before if not after[name].equal(before[name])}
    assert changed == {name for name in before if ".prompts." in name}


def test_o9_without_prompts_it_is_zero_shot_clip(folder: Path) -> None:
    plain = train(clip_engine(folder, ZeroShotCLIPPlugin(template="{}.")))
    prompted = train(clip_engine(folder, CPECLIPPlugin(prompt_length=0)))
    classes = list(range(8))
    # names embedded in batches of other sizes round differently in the last bits
    torch.testing.assert_close(prompted.model.head.rows(classes), plain.model.head.rows(classes))
    assert prompted.evaluate(2).equal(plain.evaluate(2))


def test_after_a_session_every_row_is_the_names_embedding_by_the_new_prompts(folder: Path) -> None:
    engine = train(clip_engine(folder, CPECLIPPlugin(lr_per_epoch=RATES)))
    expected = body_of(engine).embed_names(list(engine.stream.info.class_names), "{}.")
    torch.testing.assert_close(engine.model.head.rows(list(range(8))), expected)
    untrained = load_tiny_clip(folder).embed_names(list(engine.stream.info.class_names), "{}.")
    assert (expected - untrained).abs().max() > 1e-3


def test_a_training_step_embeds_the_sessions_names_alone_and_evaluation_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = clip_engine(folder, CPECLIPPlugin())
    engine.train_session(0)
    texts: list[int] = []
    encode = ClipBody.encode_text
    monkeypatch.setattr(
        ClipBody, "encode_text", lambda self, t: texts.append(len(t.ids)) or encode(self, t)
    )
    engine.train_session(1)
    assert texts == [2, *[2] * 4, 6]  # at its start, in its steps, and all rows in the end
    engine.evaluate(1)
    assert len(texts) == 6


def test_training_images_are_not_augmented_unless_asked_for(folder: Path) -> None:
    def first_batches(augment: bool) -> list[Tensor]:
        engine = clip_engine(folder, CPECLIPPlugin(augment=augment))
        seen: list[Tensor] = []
        engine.model.backbone.register_forward_pre_hook(lambda _, x: seen.append(x[0].clone()))
        engine.train_session(0)
        return seen[:3]

    stream = colour_stream()
    samples = stream.train[0]
    plain = {stream.info.eval_transform(samples[i][0]).sum().item() for i in range(len(samples))}

    def known(batch: list[Tensor]) -> list[bool]:
        sums = [image.sum().item() for images in batch for image in images]
        return [min(abs(s - p) for p in plain) < 1e-2 for s in sums]

    assert all(known(first_batches(augment=False)))
    assert not all(known(first_batches(augment=True)))


def test_training_lowers_the_loss(folder: Path) -> None:
    losses: list[float] = []
    engine = clip_engine(folder, CPECLIPPlugin(lr_per_epoch=RATES), base_epochs=12)
    engine.on_epoch = lambda record: losses.append(record.loss or 0.0)
    engine.train_session(0)
    assert losses[-1] < 0.8 * losses[0]


def test_a_stop_within_or_between_sessions_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    def make() -> Engine:
        return clip_engine(folder, CPECLIPPlugin(lr_per_epoch=RATES))

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
    assert len(saved) == 9
    for path, next_session in saved:
        resumed = make()
        torch.rand(7)
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, next_session)
        found = resumed.model.state_dict()
        assert [k for k in expected if not found[k].equal(expected[k])] == [], path.stem
        assert resumed.plugin.names_ == engine.plugin.names_
        assert resumed.evaluate(2).equal(hits)


def test_a_checkpoint_holds_prompts_and_rows_alone(folder: Path) -> None:
    engine = clip_engine(folder, CPECLIPPlugin())
    engine.train_session(0)
    names = set(engine.state_dict()["model"])
    assert names == {
        "backbone.body.prompts.rows",
        "backbone.body.prompts.to_vision.weight",
        "backbone.body.prompts.to_vision.bias",
        "head.weight",
        "head.class_ids",
    }


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_it_works_in_a_bare_template_and_scales_its_rate_anew_each_session(folder: Path) -> None:
    stream = colour_stream()
    model = build_classifier(
        ModelConfig(backbone=f"clip:{folder}", weights=str(folder)), stream.info.input_shape
    )
    plugin = CPECLIPPlugin(lr_per_epoch=None, class_names=list(stream.info.class_names))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    template = api.SupervisedTemplate(
        model=model,
        optimizer=optimizer,
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[plugin],
        evaluator=api.EvaluationPlugin(loggers=[]),
    )
    rates = []
    for experience in benchmark(stream).train_stream:
        before = model.backbone.body.prompts
        template.train(experience)
        rates.append(optimizer.param_groups[0]["lr"])
        assert before is None or before is model.backbone.body.prompts
    template.eval(benchmark(stream).test_stream)
    assert rates == pytest.approx([0.02, 0.02 * 2 / 6, 0.02 * 2 / 8])
    assert model.head.live is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"text_mode": "accumulated"}, "text_mode must be one of replace, accumulate"),
        ({"vision_mode": ""}, "vision_mode must be one of replace, accumulate"),
        ({"prompt_length": -1}, "prompt_length must be at least 0"),
        ({"prompt_length": 22}, "leave no room for a word"),
        ({"lr_per_epoch": ()}, "lr_per_epoch must hold at least one rate"),
        ({"incremental_batch_size": 0}, "incremental_batch_size must be at least 1"),
    ],
)
def test_parameters_out_of_range_are_refused(
    folder: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        clip_engine(folder, CPECLIPPlugin(**parameters))


def test_a_backbone_asked_to_stay_frozen_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.frozen=True forbids"):
        clip_engine(folder, CPECLIPPlugin(), frozen=True)


def test_the_command_line_takes_learning_rates() -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "cpe_clip")
    parser = build_parser(*pair)
    given = parser.parse_args(["--strategy.lr_per_epoch", "[0.1, 0.2]"])
    assert tuple(given["strategy"]["lr_per_epoch"]) == (0.1, 0.2)
    assert tuple(parser.get_defaults()["strategy"]["lr_per_epoch"]) == WARM_UP
