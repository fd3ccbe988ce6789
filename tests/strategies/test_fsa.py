"""FSA: what learns in the base session, what stays, and which rule makes the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream
from helpers.tiny_vit import VIT, changed, make_engine, run, state
from torch import nn

from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.features.stats import class_stats
from cl_suite.learner.trained import rule_of
from cl_suite.methods.first_session import TUNER
from cl_suite.models.adapters import without_adapters
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.models.heads.ridge import RidgeHead
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.storage import checkpoint
from cl_suite.strategies.fsa import FSAPlugin
from cl_suite.strategies.prototype import PrototypePlugin
from cl_suite.strategies.simple_cil import SimpleCILPlugin

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def features(engine: Engine) -> torch.Tensor:
    with evaluating(engine.model), torch.no_grad():
        return engine.model.features(IMAGES)


def session_features(engine: Engine, session: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features and class ids of a session's training images, without augmentation."""
    samples = engine.stream.train[session]
    raw = torch.stack([samples[i][0] for i in range(len(samples))])
    with evaluating(engine.model), torch.no_grad():
        found = engine.model.features(engine.stream.info.eval_transform(raw))
    return found, torch.tensor(list(samples.targets))


class Noting(FSAPlugin):
    """Notes which tensors get a gradient, and the logits of the first batch."""

    def after_backward(self, template: Any, **kwargs: Any) -> None:
        named = template.model.named_parameters()
        self.gradients = {n for n, p in named if p.grad is not None and bool(p.grad.any())}
        if not hasattr(self, "first"):
            self.first = template.mb_output.detach(), self._pass.features.detach()


@pytest.mark.parametrize("num_blocks", [-1, 2])
def test_adapters_alone_learn(num_blocks: int) -> None:
    engine = make_engine(plugin := Noting(num_blocks=num_blocks))
    run(engine, 1)
    found = {n for n in plugin.gradients if not n.startswith(TUNER)}
    assert found
    assert all(".lora_" in name for name in found)
    blocks = {int(name.split("blocks.")[1].split(".")[0]) for name in found}
    assert blocks == (set(range(4)) if num_blocks < 0 else {2, 3})


def test_the_last_blocks_learn_and_no_other_tensor() -> None:
    engine = make_engine(plugin := Noting(tune="blocks", num_blocks=1))
    before = state(engine.model.backbone)
    run(engine, 1)
    learned = changed(engine.model.backbone, before)
    assert learned
    assert all(name.startswith(("body.blocks.3.", "body.norm.")) for name in learned)
    assert "body.blocks.3.mlp.fc1.weight" in learned
    assert {n for n in plugin.gradients if n.startswith(TUNER)} == {f"{TUNER}.weight"}


def test_rows_of_the_base_sessions_classifier_start_as_class_means() -> None:
    plugin = Noting(scale=5.0)
    engine = make_engine(plugin, base_epochs=1)
    means = class_stats(*session_features(engine, 0))
    run(engine, 1)
    logits, seen = plugin.first
    expected = 5.0 * torch.cosine_similarity(seen[:, None].double(), means.mean[None], dim=2)
    torch.testing.assert_close(logits[:, means.classes].double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("parameters", [{}, {"tune": "blocks", "num_blocks": 1}])
def test_after_the_base_session_nothing_learns(parameters: dict[str, Any]) -> None:
    engine = make_engine(FSAPlugin(**parameters), incremental_epochs=2)
    run(engine, 1)
    assert not any(p.requires_grad for n, p in engine.model.named_parameters() if "head" not in n)
    before = state(engine.model.backbone)
    for session in (1, 2):
        engine.train_session(session)
    assert not changed(engine.model.backbone, before)
    assert sorted(engine.model.head.classes) == list(range(8))


def test_the_base_sessions_classifier_is_dropped() -> None:
    engine = run(make_engine(FSAPlugin()), 1)
    assert engine.model.tuner.weight.shape == (0, VIT["embed_dim"])


def test_class_means_are_those_of_the_tuned_features() -> None:
    engine = run(make_engine(FSAPlugin(head_rule="simple_cil")))
    for session in range(3):
        stats = class_stats(*session_features(engine, session))
        rows = engine.model.head.rows(stats.classes)
        torch.testing.assert_close(rows.double(), stats.mean, rtol=1e-3, atol=1e-4)


def test_ridge_regression_is_that_of_the_tuned_features() -> None:
    params = {"num_projections": 16, "ridge": 1.0}
    engine = run(make_engine(FSAPlugin(head_rule="ranpac", head_rule_params=params)))
    alone = RidgeHead(VIT["embed_dim"], 8, num_projections=16)
    for session in range(3):
        alone.learn(*session_features(engine, session))
    alone.solve(1.0)
    x = features(engine)
    torch.testing.assert_close(engine.model.head(x), alone(x), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("rule", "head"), [("lda", GaussianHead), ("teen_whitened", OffsetCosineHead)]
)
def test_the_head_is_the_rules(rule: str, head: type) -> None:
    assert type(make_engine(FSAPlugin(head_rule=rule)).model.head) is head


def test_a_plugin_serves_as_the_rule() -> None:
    engine = run(make_engine(FSAPlugin(head_rule=PrototypePlugin(normalize_features=True))))
    assert sorted(engine.model.head.classes) == list(range(8))


def test_without_epochs_the_network_and_the_rows_are_those_of_the_rule_alone() -> None:
    tuned = run(make_engine(FSAPlugin(head_rule="simple_cil"), base_epochs=0))
    plain = run(make_engine(SimpleCILPlugin(), base_epochs=0))
    torch.testing.assert_close(features(tuned), features(plain), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tuned.model.head.weight, plain.model.head.weight)


@pytest.mark.parametrize(
    "parameters",
    [{"num_blocks": 2}, {}, {"tune": "blocks", "num_blocks": 1}, {"tune": "blocks"}],
)
def test_concat_puts_the_untouched_features_beside_the_tuned(parameters: dict[str, Any]) -> None:
    dim = VIT["embed_dim"]
    engine = make_engine(FSAPlugin(concat=True, **parameters))
    before = features(engine)
    assert before.shape == (3, 2 * dim)
    assert before[:, :dim].equal(before[:, dim:])
    run(engine)
    after = features(engine)
    torch.testing.assert_close(after[:, dim:], before[:, dim:], rtol=1e-6, atol=1e-6)
    assert (after[:, :dim] - before[:, :dim]).abs().max() > 1e-3
    assert engine.model.head.dim == 2 * dim
    assert sorted(engine.model.head.classes) == list(range(8))


def test_the_halves_are_the_body_with_and_without_its_adapters() -> None:
    engine = run(make_engine(FSAPlugin(concat=True)), 1)
    body = engine.model.backbone.body
    with evaluating(body), torch.no_grad():
        tuned = body(IMAGES)
        with without_adapters(body):
            before = body(IMAGES)
    torch.testing.assert_close(features(engine), torch.cat([tuned, before], dim=1))


def test_a_run_with_concat_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    parameters = {"concat": True, "tune": "blocks", "num_blocks": 1}
    engine = run(make_engine(FSAPlugin(**parameters)), 2)
    checkpoint.save(tmp_path / "state.safetensors", engine.state_dict())
    engine.train_session(2)
    resumed = make_engine(FSAPlugin(**parameters))
    resumed.load_state_dict(checkpoint.load(tmp_path / "state.safetensors"))
    resumed.train_session(2)
    assert features(resumed).equal(features(engine))
    assert resumed.evaluate(2).equal(engine.evaluate(2))


def test_batchnorm_statistics_stay() -> None:
    engine = make_engine(
        FSAPlugin(tune="blocks", num_blocks=2), model={"backbone": "conv4", "backbone_args": {}}
    )
    before = state(engine.model.backbone)
    run(engine, 1)
    learned = changed(engine.model.backbone, before)
    assert learned
    assert not [name for name in learned if "running" in name]


def test_the_first_changed_block_leaves_frozen_ones_out() -> None:
    model = build_classifier(
        ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT), (1, 16, 16)
    )
    assert FSAPlugin(num_blocks=1).first_changed_block(model) == 3
    assert FSAPlugin(num_blocks=9).first_changed_block(model) == 0
    assert FSAPlugin().first_changed_block(model) == 0


def test_a_classifier_file_takes_the_rule_of_the_run() -> None:
    plugin = FSAPlugin(head_rule="teen", head_rule_params={"shift_weight": 0.25})
    engine = run(make_engine(plugin))
    strategy = {"name": "fsa", "parameters": {"head_rule": "teen"}}
    rule, note = rule_of(strategy, plugin, engine.model)
    assert (rule.name, note) == ("teen", "")
    assert rule.parameters["shift_weight"] == 0.25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"head_rule": "teeen"}, "^head_rule 'teeen' is unknown; did you mean 'teen'"),
        ({"head_rule": "er"}, "^head_rule must be a strategy that makes its rows from features"),
        ({"head_rule": "limit"}, "got 'limit'; choose simple_cil"),
        ({"head_rule": "protonet"}, "got 'protonet'"),
        ({"head_rule": "fsa"}, "got 'fsa'"),
        ({"head_rule": "fpf"}, "^head_rule 'fpf' is a wrapper itself"),
        (
            {"head_rule": "teen", "head_rule_params": {"shift_weigth": 0}},
            "^head_rule_params.shift_weigth of head_rule 'teen' is unknown; did you mean",
        ),
        (
            {"head_rule": "teen", "head_rule_params": {"shift_weight": 2}},
            r"^head_rule_params.shift_weight must be in \[0, 1\]",
        ),
        (
            {"head_rule": SimpleCILPlugin(), "head_rule_params": {"centre": True}},
            "need a head_rule given by name",
        ),
    ],
)
def test_an_unsuitable_rule_is_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FSAPlugin(**parameters)


def test_a_frozen_backbone_is_refused() -> None:
    with pytest.raises(UserError, match=r"tunes the backbone, which model\.frozen keeps unchanged"):
        make_engine(FSAPlugin(), model={"frozen": True})


def test_concat_needs_our_classifier() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8))
    with pytest.raises(UserError, match="concat needs cl_suite's Classifier, got Sequential"):
        FSAPlugin(concat=True).prepare_model(network)


def test_a_second_preparation_changes_nothing() -> None:
    engine = make_engine(plugin := FSAPlugin(concat=True))
    before, head = state(engine.model), engine.model.head
    plugin.prepare_model(engine.model)
    assert engine.model.head is head
    assert not changed(engine.model, before)
    assert engine.model.backbone.dim == 2 * VIT["embed_dim"]


def test_tuning_separates_the_base_classes() -> None:
    stream = make_stream()
    untuned = make_engine(FSAPlugin(), stream, base_epochs=0)
    tuned = make_engine(FSAPlugin(), stream, base_epochs=8)
    found = [run(engine, 1).evaluate(0) for engine in (untuned, tuned)]
    assert found[1].diagonal().sum() >= found[0].diagonal().sum()
