"""Contrastive pretraining: which loss trains what, its state, its refusals, any head rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_models import subject_named
from helpers.tiny_ssl import Steps, unequal, weights
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.features.stats import class_stats
from cl_suite.learner.trained import rule_of
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss
from cl_suite.methods.contrastive.recipes import RECIPES, LossName
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.contrastive import EXTRAS, ContrastivePlugin
from cl_suite.testing.contract import CHECKS, Check, run_check

# so short sessions see every part of a loss
EARLY: dict[str, dict[str, Any]] = {
    "sbcl": {"smallest": 2, "first_epochs": 1, "every_epochs": 1},
    "moco": {"queue_size": 20},
}
every_loss = pytest.mark.parametrize("loss", get_args(LossName))


def make(loss: str = "supcon", **parameters: Any) -> ContrastivePlugin:
    given: Any = {"loss": loss, "loss_params": EARLY.get(loss), "projection_dim": 8, **parameters}
    return ContrastivePlugin(**given)


def make_engine(plugin: ContrastivePlugin, **training: Any) -> Engine:
    """Return an engine over 3 sessions of 48, 6 and 6 images, 3 steps an epoch."""
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = {"base_epochs": 4, "incremental_epochs": 0, "batch_size": 16, "lr": 0.02}
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))


def run(engine: Engine, sessions: int = 3) -> Engine:
    for session in range(sessions):
        engine.train_session(session)
    return engine


def views_seen(engine: Engine) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """Note both projections, the labels and the loss of each step of the sessions to come."""
    seen: list[tuple[Tensor, Tensor, Tensor, float]] = []

    def note(template: Any) -> None:
        batch = engine.plugin._batch
        assert batch is not None
        z1, z2 = (z.detach() for z in batch.z)
        seen.append((z1, z2, batch.labels, float(template.loss.detach())))

    Steps(engine, note, "after_backward")
    return seen


def test_every_name_has_a_recipe_and_no_recipe_is_out_of_reach() -> None:
    assert tuple(RECIPES) == get_args(LossName)


@every_loss
def test_it_trains_the_backbone_and_the_projector_in_the_base_session_alone(loss: str) -> None:
    engine = make_engine(make(loss))
    before = weights(engine)
    run(engine, 1)
    after = weights(engine)
    changed = unequal(after, before)
    assert any(name.startswith("backbone.") for name in changed)
    assert any(name.startswith("projector.") for name in changed)
    assert all(tensor.isfinite().all() for tensor in after.values() if tensor.is_floating_point())
    for session in (1, 2):
        engine.train_session(session)
    moved = unequal(weights(engine), after)
    assert not [name for name in moved if not name.startswith("head.")]
    assert sorted(engine.model.head.classes) == list(range(8))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("supcon", lambda z1, z2, y: supcon_loss(z1, z2, labels=y, temperature=0.1)),
        ("nt_xent", lambda z1, z2, y: nt_xent_loss(z1, z2, temperature=0.5)),
    ],
)
def test_the_loss_is_that_of_the_projections(loss: str, expected: Any) -> None:
    engine = make_engine(make(loss))
    seen = views_seen(engine)
    run(engine, 1)
    assert len(seen) == 12
    for z1, z2, labels, value in seen:
        assert value == pytest.approx(expected(z1, z2, labels).item(), rel=1e-5)


def test_settings_of_the_loss_reach_it() -> None:
    engine = make_engine(make(loss_params={"temperature": 0.7, "decoupled": True}))
    seen = views_seen(engine)
    run(engine, 1)
    z1, z2, labels, value = seen[0]
    expected = supcon_loss(z1, z2, labels=labels, temperature=0.7, decoupled=True)
    assert value == pytest.approx(expected.item(), rel=1e-5)


def test_a_cross_entropy_is_added_by_its_weight() -> None:
    engine = make_engine(plugin := make(ce_weight=0.5))
    added: list[tuple[float, float]] = []

    def note(template: Any) -> None:
        batch = plugin._batch
        assert batch is not None
        own = supcon_loss(*batch.z, labels=batch.labels, temperature=0.1)
        entropy = F.cross_entropy(template.mb_output, template.mb_y)
        added.append((template.loss.item(), (own + 0.5 * entropy).item()))

    Steps(engine, note, "after_backward")
    run(engine, 1)
    found, expected = zip(*added, strict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[0] > 0


def test_gml_adds_the_class_frequencies_to_the_logits_while_it_trains() -> None:
    engine = make_engine(plugin := make("gml"))
    given: list[Tensor] = []

    def note(template: Any) -> None:
        logits = template.mb_output.detach()
        plain = F.cross_entropy(logits, template.mb_y)
        given.append(plugin._cross_entropy(template).detach() - plain)

    Steps(engine, note, "after_backward")
    run(engine, 1)
    # the tiny stream is balanced, and classes to come have no row yet
    assert max(abs(float(x)) for x in given) < 1e-5
    assert engine.model.contrast.log_temperature.item() != 0


def test_rows_are_the_class_means_of_the_features() -> None:
    engine = run(make_engine(make(head_rule="prototype")))
    for session in range(3):
        samples = engine.stream.train[session]
        raw = torch.stack([samples[i][0] for i in range(len(samples))])
        with evaluating(engine.model), torch.no_grad():
            features = engine.model.features(engine.stream.info.eval_transform(raw))
        stats = class_stats(features, torch.tensor(list(samples.targets)))
        rows = engine.model.head.rows(stats.classes)
        torch.testing.assert_close(rows.double(), stats.mean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "head"), [("lda", GaussianHead), ("teen_whitened", OffsetCosineHead)]
)
def test_the_head_is_the_rules(rule: str, head: type) -> None:
    engine = run(make_engine(make(head_rule=rule, ce_weight=1.0)))
    assert type(engine.model.head) is head
    assert sorted(engine.model.head.classes) == list(range(8))


@every_loss
def test_a_run_resumes_from_any_epoch_bit_for_bit(loss: str, tmp_path: Path) -> None:
    engine, saved = make_engine(make(loss)), []

    def save(record: Any) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append(path)

    engine.on_epoch = save
    run(engine, 1)
    expected = weights(engine)
    for path in saved[1:3]:  # before and after the losses' second parts begin
        resumed = make_engine(make(loss))
        torch.rand(7)  # a resumed process has drawn other random numbers
        resumed.load_state_dict(checkpoint.load(path))
        run(resumed, 1)
        assert unequal(weights(resumed), expected) == [], path.stem


def test_copy_queue_and_groups_are_gone_after_the_base_session() -> None:
    for loss in ("moco", "cwcl", "mcl"):
        engine = run(make_engine(plugin := make(loss)), 1)
        assert plugin.momentum_ is None
        assert plugin.frozen_ is None
        assert (plugin.memory_, plugin.groups_) == ({}, {})
        assert not requirements_of(engine.plugin).carries_base_state


def test_a_queue_keeps_the_newest_keys_of_both_views() -> None:
    engine = make_engine(plugin := make("moco"))
    sizes: list[int] = []
    newest: list[bool] = []

    def note(template: Any) -> None:
        sizes.append(len(plugin.memory_["keys"]))
        newest.append(plugin.memory_["labels"][-16:].equal(template.mb_y))

    Steps(engine, note, "after_training_iteration")
    run(engine, 1)
    assert sizes == [20] * 12
    assert all(newest)


def test_a_queue_never_has_more_keys_than_the_session_has_samples() -> None:
    engine = make_engine(plugin := make("ascl", loss_params={"queue_size": 4096}))
    sizes: list[int] = []
    Steps(engine, lambda t: sizes.append(len(plugin.memory_["keys"])), "after_training_iteration")
    run(engine, 1)
    assert sizes == [32, *[48] * 11]


def test_the_momentum_copy_follows_the_network() -> None:
    params = {"momentum": 0.75}
    engine = make_engine(plugin := make("moco", loss_params=params), base_epochs=1)
    found: list[tuple[Tensor, Tensor]] = []

    def note(template: Any) -> None:
        assert plugin.momentum_ is not None
        copy, own = (
            dict(network.named_parameters())["projector.0.weight"].detach().clone()
            for network in (plugin.momentum_, engine.model)
        )
        found.append((copy, own))

    Steps(engine, note, "after_training_iteration")
    run(engine, 1)
    (first, _), (second, own) = found[:2]
    torch.testing.assert_close(second, 0.75 * first + 0.25 * own)


@pytest.mark.parametrize(
    ("loss", "name", "first"), [("mcl", "groups", 2), ("sbcl", "subclasses", 1)]
)
def test_subclasses_and_groups_are_made_when_their_time_has_come(
    loss: str, name: str, first: int
) -> None:
    engine = make_engine(plugin := make(loss))
    known: list[bool] = []
    Steps(engine, lambda t: known.append(name in plugin.groups_), "before_backward")
    run(engine, 1)
    assert known == [step // 3 >= first for step in range(12)]


def test_fassl_weighs_samples_after_its_first_part() -> None:
    engine = make_engine(make("fassl"))
    shares: list[Tensor] = []
    own = getattr(engine.model, EXTRAS)
    Steps(engine, lambda t: shares.append(own.frequencies.clone()), "after_training_iteration")
    run(engine, 1)
    assert not shares[0].equal(shares[5])
    assert all(share.equal(shares[5]) for share in shares[6:])
    assert shares[5].sum().item() == pytest.approx(1, rel=1e-4)


def test_a_loss_without_labels_says_so_after_the_base_session() -> None:
    plain = "trained by a loss that reads no labels (dcl); its classifier does"
    assert make("dcl").session_note(0) == plain
    assert "its cross-entropy and classifier do" in make("dcl", ce_weight=1.0).session_note(0)
    assert make("dcl").session_note(1) == ""
    assert make("supcon").session_note(0) == ""
    assert make("moco", loss_params={"use_labels": True}).session_note(0) == ""


def test_labels_do_not_matter_to_a_loss_without_labels() -> None:
    batches = []
    for flip in (False, True):
        engine = make_engine(make("moco"), base_epochs=1)
        seen = views_seen(engine)
        if flip:
            hook = lambda t: t.mbatch.__setitem__(1, 7 - t.mb_y)  # noqa: E731
            Steps(engine, hook, "before_training_iteration")
        run(engine, 1)
        batches.append([value for *_, value in seen])
    assert batches[0] == batches[1]


def test_a_classifier_file_takes_the_rule_of_the_run() -> None:
    plugin = make(head_rule="teen", head_rule_params={"shift_weight": 0.25})
    engine = run(make_engine(plugin))
    strategy = {"name": "contrastive", "parameters": {"head_rule": "teen"}}
    rule, note = rule_of(strategy, plugin, engine.model)
    assert (rule.name, note) == ("teen", "")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "supcom"}, "^loss must be one of supcon, "),
        (
            {"loss_params": {"temprature": 1}},
            r"^loss_params.temprature of loss 'supcon' is unknown; did you mean 'temperature'",
        ),
        ({"loss_params": {"temperature": 0}}, r"^loss_params.temperature must be above 0, got 0"),
        ({"loss": "moco", "loss_params": {"momentum": 2}}, r"^loss_params.momentum must be in"),
        ({"loss": "nt_xent", "loss_params": {"decoupled": True}}, "of loss 'nt_xent' is unknown"),
        ({"head_rule": "er"}, "^head_rule must be a strategy that makes its rows from features"),
        ({"head_rule": "contrastive"}, "got 'contrastive'"),
        ({"ce_weight": -1}, "^ce_weight must be at least 0"),
    ],
)
def test_bad_settings_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ContrastivePlugin(**parameters)


def test_a_frozen_backbone_is_refused() -> None:
    plugin, frozen = make(), ModelConfig(frozen=True)
    with pytest.raises(UserError, match=r"trains the backbone, but model\.frozen freezes it"):
        build_classifier(frozen, (1, 16, 16), 4, plugin)


def test_a_second_preparation_changes_nothing() -> None:
    engine = make_engine(plugin := make("gml"))
    before = weights(engine)
    parts: list[nn.Module] = [engine.model.projector, getattr(engine.model, EXTRAS)]
    plugin.prepare_model(engine.model)
    assert [engine.model.projector, getattr(engine.model, EXTRAS)] == parts
    assert unequal(weights(engine), before) == []


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", ["gml", "mcl", "cwcl", "fassl"])
def test_losses_with_state_of_their_own_keep_the_contract(check: Check, loss: str) -> None:
    subject = dataclasses.replace(subject_named("contrastive"), given={"loss": loss})
    if (reason := run_check(check, subject)) is not None:
        pytest.skip(reason)
