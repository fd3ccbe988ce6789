"""CoACT: what learns in which session, its ablations, and what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_coact import RECIPE, VIT, Recording, changed, make_engine, run, state
from helpers.tiny_streams import make_stream
from torch import nn

from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.adapters import LoRASettings, add_lora
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.encoder import Encoder
from cl_suite.models.first_token import read_first_token
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.heads.dot import DotHead
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin, Template, session_stats
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.coact import CoACTPlugin

# what learns


def test_o7_gradients_before_and_after_part_b_begins() -> None:
    plugin = Recording(adapt_blocks=2, tune_from_block=3, tune_from_epoch=1)
    run(make_engine(plugin), 1)
    first, last = plugin.gradients[0], plugin.gradients[-1]
    assert "head.weight" in first
    assert all(".lora_" in name for name in first - {"head.weight"})
    assert all(name.startswith("backbone.body.blocks.") for name in first - {"head.weight"})
    tuned = last - first
    assert all(
        name.startswith(("backbone.body.blocks.3.", "backbone.body.norm.")) for name in tuned
    )
    assert {"backbone.body.blocks.3.mlp.fc1.weight", "backbone.body.norm.weight"} <= tuned
    assert "backbone.body.blocks.3.attn.qkv.k.weight" in tuned


def test_part_b_over_the_whole_network_reaches_the_embedding() -> None:
    plugin = Recording(tune_from_block=-1, tune_from_epoch=0)
    run(make_engine(plugin), 2)
    assert {"backbone.body.cls_token", "backbone.body.patch_embed.proj.weight"} <= set(
        plugin.gradients[0]
    )


def test_part_b_learns_at_its_own_rate() -> None:
    plugin = CoACTPlugin(tune_from_block=3, tune_lr_factor=0.25)
    engine = make_engine(plugin)
    run(engine, 1)
    rates = [group["initial_lr"] for group in engine.template.optimizer.param_groups]
    assert rates == [0.01, 0.0025]
    assert len(engine.template.optimizer.param_groups[1]["params"]) == len(plugin.teacher_)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("pet", {"lora"}), ("classifier", {"head"}), ("both", {"lora", "head"}), ("none", set())],
)
def test_what_learns_in_later_sessions(layers: Any, expected: set[str]) -> None:
    engine = make_engine(
        CoACTPlugin(incremental_layers=layers, tune_from_block=3), incremental_lr=0.1
    )
    run(engine, 1)
    before = state(engine.model)
    engine.train_session(1)
    old_rows = engine.model.head.weight[:4].detach()
    found = {"lora" if ".lora_" in n else n for n in changed(engine.model, before)}
    found -= {"head.weight", "head.class_ids"}
    if not old_rows.equal(before["head.weight"]):
        found.add("head")
    assert found == expected


@pytest.mark.parametrize("rows", ["means", "learned"])
def test_the_rows_of_base_classes_after_the_base_session(rows: Any) -> None:
    engine = run(make_engine(CoACTPlugin(tune_from_block=None, base_rows=rows)), 1)
    samples = engine.stream.train[0]
    labels = torch.tensor(samples.targets)
    images = torch.stack(
        [engine.stream.info.eval_transform(samples[i][0]) for i in range(len(labels))]
    )
    with torch.no_grad():
        features = engine.model.eval().features(images)
    classes = sorted(set(labels.tolist()))
    means = torch.stack([features[labels == c].mean(0) for c in classes])
    assert torch.allclose(engine.model.head.rows(classes), means, atol=1e-5) is (rows == "means")
    kept = engine.plugin.base_["classifier"]["weight"]
    assert kept.equal(engine.model.head.weight)


def test_o9_without_epochs_a_later_session_only_adds_class_means() -> None:
    engine = make_engine(CoACTPlugin(tune_from_block=3), incremental_epochs=0)
    run(engine, 1)
    before = state(engine.model)
    engine.train_session(1)
    backbone = {n: t for n, t in before.items() if n.startswith("backbone.")}
    assert changed(engine.model, backbone) == set()
    assert engine.model.head.rows([0, 2, 5, 7]).equal(before["head.weight"])
    samples = engine.stream.train[1]
    images = torch.stack([engine.stream.info.eval_transform(samples[i][0]) for i in range(6)])
    with torch.no_grad():
        features = engine.model.eval().features(images)
    labels = torch.tensor(samples.targets)
    for class_id in (1, 6):
        mean = features[labels == class_id].mean(0)
        torch.testing.assert_close(engine.model.head.rows([class_id])[0], mean)


def test_old_rows_do_not_decay_in_later_sessions() -> None:
    engine = make_engine(CoACTPlugin(incremental_layers="both"))
    run(engine, 1)
    (group, *_) = engine.template.optimizer.param_groups
    assert any(p is engine.model.head.weight for p in group["params"])
    assert group["weight_decay"] > 0
    engine.train_session(1)
    holding = [
        group
        for group in engine.template.optimizer.param_groups
        if any(p is engine.model.head.weight for p in group["params"])
    ]
    assert [group["weight_decay"] for group in holding] == [0.0]


# ablations


class PlainLoRA(StrategyPlugin):
    """Adapters, class means as first rows, cross-entropy; nothing else."""

    def prepare_model(self, model: nn.Module) -> None:
        assert isinstance(model, Classifier)
        add_lora(model.backbone.body, LoRASettings(16, 16.0, 0.1))
        read_first_token(model.backbone.body)  # the same numbers, but by other kernels

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        stats = session_stats(template)
        template.model.head.set_rows(stats.classes, stats.mean)
        template.model.head.weight.requires_grad_(template.experience.current_experience == 0)


def test_with_every_part_switched_off_it_is_plain_lora() -> None:
    ablated = CoACTPlugin(tune_from_block=None, contrastive_weight=0.0, consistency_weight=0.0)
    found, expected = run(make_engine(ablated)), run(make_engine(PlainLoRA()))
    assert changed(found.model, state(expected.model)) == set()
    start = state(make_engine(PlainLoRA()).model)
    assert changed(expected.model, {k: v for k, v in start.items() if ".lora_" in k})


@pytest.mark.parametrize(
    "part", [{"tune_from_block": 2}, {"contrastive_weight": 1.0}, {"consistency_weight": 1.0}]
)
def test_each_part_changes_the_outcome(part: dict[str, Any]) -> None:
    off: dict[str, Any] = {
        "tune_from_block": None,
        "contrastive_weight": 0.0,
        "consistency_weight": 0.0,
    }
    found = run(
        make_engine(CoACTPlugin(**{**off, **part}), incremental_epochs=2, incremental_lr=0.1)
    )
    other = run(make_engine(CoACTPlugin(**off), incremental_epochs=2, incremental_lr=0.1))
    assert changed(found.model, state(other.model))


def test_views_that_are_the_same_are_warned_of() -> None:
    stream = make_stream()
    plain = stream.with_transforms(stream.info.eval_transform, stream.info.eval_transform)
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        run(make_engine(CoACTPlugin(), plain), 1)


@pytest.mark.parametrize(("kind", "head"), [("dot", DotHead), ("cosine", CosineHead)])
def test_the_classifier_is_chosen_by_a_parameter(kind: Any, head: type[ClassHead]) -> None:
    engine = run(make_engine(CoACTPlugin(classifier=kind)), 1)
    assert type(engine.model.head) is head


def test_stopping_in_any_epoch_and_going_on_gives_the_same_bits(tmp_path: Path) -> None:
    def make() -> Engine:
        plugin = CoACTPlugin(
            tune_from_block=2, tune_from_epoch=1, incremental_layers="both", adapt_blocks=2, ema=0.9
        )
        return make_engine(plugin, base_epochs=3, incremental_epochs=2)

    engine, saved = make(), []

    def save(record: EpochRecord) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, record.session))

    engine.on_epoch = save
    expected = state(run(engine).model)
    for path, session in saved:
        resumed = make()
        torch.rand(5)
        resumed.load_state_dict(checkpoint.load(path))
        for later in range(session, 3):
            resumed.train_session(later)
        assert changed(resumed.model, expected) == set(), path.stem


# what it is given


def test_blocks_that_the_user_froze_stay_as_they_are() -> None:
    stream = make_stream()
    plugin = CoACTPlugin(tune_from_block=-1, tune_from_epoch=0)
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT, trained_blocks=1)
    seed_everything(0)
    model = build_classifier(config, stream.info.input_shape, stream.info.num_classes, plugin)
    before = state(model.backbone.body)
    run(Engine(stream, model, plugin, TrainingConfig(**RECIPE)))
    moved = changed(model.backbone.body, before)
    assert {n.rsplit(".", 1)[0] for n in moved} > {"norm"}
    assert all(n.startswith(("blocks.3.", "norm.")) for n in moved)


def test_a_frozen_backbone_is_refused() -> None:
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT, frozen=True)
    with pytest.raises(UserError, match="coact tunes the backbone"):
        build_classifier(config, (1, 16, 16), 8, CoACTPlugin())


@pytest.mark.parametrize("value", [{"tune_from_block": -2}, {"tune_from_epoch": -1}])
def test_a_negative_number_of_part_b_is_refused(value: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(value))} must be at least"):
        CoACTPlugin(**value)


def test_a_network_with_fewer_outputs_than_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="class 5 is beyond the 4 outputs"):
        Encoder(nn.Sequential(nn.Linear(3, 4))).set_rows([5], torch.zeros(1, 3))
