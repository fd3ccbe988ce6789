"""CASP: what learns, the loss on mixed tokens, and which rule makes the rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_vit import VIT, changed, make_engine, run, state

from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.methods.first_session import TUNER
from cl_suite.models.class_token import class_token_biases
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.offset import OffsetCosineHead
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import Template
from cl_suite.strategies.casp import CASPPlugin, mixed_cross_entropy, mixture
from cl_suite.strategies.simple_cil import SimpleCILPlugin

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def features(engine: Engine) -> torch.Tensor:
    with evaluating(engine.model), torch.no_grad():
        return engine.model.features(IMAGES)


class Noting(CASPPlugin):
    """Notes what it adds to the loss, and which tensors get a gradient."""

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        before = template.loss.detach().clone()
        super().before_backward(template, **kwargs)
        self.added = float(template.loss.detach() - before)

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        named = template.model.named_parameters()
        self.gradients = {n for n, p in named if p.grad is not None and bool(p.grad.any())}


def test_the_mixed_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    labels = torch.tensor([0])
    # of two samples with labels 0 and 2, a quarter of the first
    loss = mixed_cross_entropy(
        logits.repeat(2, 1), torch.tensor([0, 2]), torch.tensor([1, 0]), 0.25
    )
    first, second = F.cross_entropy(logits, labels), F.cross_entropy(logits, torch.tensor([2]))
    assert float(loss) == pytest.approx(float((first + second) / 2), abs=1e-6)
    one = mixed_cross_entropy(logits, labels, torch.tensor([0]), 0.25)
    assert float(one) == pytest.approx(0.407606, abs=1e-6)


def test_the_mixed_loss_of_one_sample_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 1.0]]).repeat(2, 1), torch.tensor([0, 2])
    # the second sample is mixed with itself
    losses = [
        2 * float(mixed_cross_entropy(logits, labels, torch.tensor([1, 1]), share)) - 1.407606
        for share in (0.25, 1.0)
    ]
    assert losses == pytest.approx([1.157606, 0.407606], abs=2e-6)


def test_the_mixed_loss_is_the_cross_entropy_with_soft_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(5, 4, generator=generator), torch.tensor([0, 3, 1, 1, 2])
    order, share = torch.randperm(5, generator=generator), 0.3
    hot = F.one_hot(labels, 4).float()
    soft = mixture(hot, order, share)
    expected = F.cross_entropy(logits, soft)
    torch.testing.assert_close(mixed_cross_entropy(logits, labels, order, share), expected)


def test_only_biases_and_the_base_sessions_classifier_learn() -> None:
    engine = make_engine(plugin := Noting())
    before = state(engine.model.backbone)
    run(engine, 1)
    learned = changed(engine.model.backbone, before)
    assert learned == {
        "body.norm_pre.bias",
        *(f"body.blocks.{block}.attn.qkv.bias" for block in range(4)),
    }
    assert {n for n in plugin.gradients if not n.startswith("backbone.")} == {f"{TUNER}.weight"}


def test_as_many_numbers_learn_as_the_paper_says() -> None:
    engine = make_engine(CASPPlugin())
    numbers = sum(bias.numel() for bias in class_token_biases(engine.model.backbone.body))
    assert numbers == (3 * VIT["depth"] + 1) * VIT["embed_dim"]


def test_a_fresh_network_is_that_of_class_means() -> None:
    fresh, plain = (
        run(make_engine(plugin, base_epochs=0)) for plugin in (CASPPlugin(), SimpleCILPlugin())
    )
    torch.testing.assert_close(features(fresh), features(plain), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fresh.model.head.weight, plain.model.head.weight)


def test_mixed_tokens_add_to_the_loss_and_can_be_left_out() -> None:
    run(make_engine(with_tokens := Noting()), 1)
    run(make_engine(without := Noting(mix_weight=0.0)), 1)
    assert with_tokens.added > 0
    assert without.added == 0


@pytest.mark.parametrize(("given", "block"), [(1, 1), (0, 0), (3, 3), (9, 3)])
def test_tokens_are_mixed_before_the_block_asked_for(given: int, block: int) -> None:
    seen: list[int] = []

    class Watching(CASPPlugin):
        def after_forward(self, template: Template, **kwargs: Any) -> None:
            super().after_forward(template, **kwargs)
            seen.append(self.recorded_stage)

    run(make_engine(Watching(mix_from_block=given), base_epochs=1), 1)
    assert set(seen) == {block}


def test_mixed_tokens_teach_the_blocks_before_the_mixture_too() -> None:
    class Mixed(CASPPlugin):
        """Learns by the mixed loss alone."""

        def before_backward(self, template: Template, **kwargs: Any) -> None:
            template.loss = template.loss * 0
            super().before_backward(template, **kwargs)

    engine = make_engine(Mixed(mix_from_block=3))
    before = state(engine.model.backbone)
    run(engine, 1)
    assert "body.blocks.0.attn.qkv.bias" in changed(engine.model.backbone, before)


def test_after_the_base_session_nothing_learns() -> None:
    engine = run(make_engine(CASPPlugin(), incremental_epochs=2), 1)
    before = state(engine.model.backbone)
    for session in (1, 2):
        engine.train_session(session)
    assert not changed(engine.model.backbone, before)
    assert sorted(engine.model.head.classes) == list(range(8))


def test_another_rule_makes_the_rows() -> None:
    engine = run(make_engine(CASPPlugin(head_rule="teen_whitened")))
    assert type(engine.model.head) is OffsetCosineHead
    assert sorted(engine.model.head.classes) == list(range(8))


def test_it_learns_in_bfloat16() -> None:
    engine = run(make_engine(CASPPlugin(), precision="bfloat16"), 1)
    assert all(bias.isfinite().all() for bias in class_token_biases(engine.model.backbone.body))
    assert engine.model.backbone.body.norm_pre.bias.any()


def test_a_network_without_a_class_token_is_refused() -> None:
    with pytest.raises(UserError, match=r"timm's vision transformers that has one, got Conv4"):
        build_classifier(ModelConfig(), (1, 16, 16), 0, CASPPlugin())
