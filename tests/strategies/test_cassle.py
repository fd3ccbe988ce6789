"""CaSSLe: the base's first session, then the distillation, gradients, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from helpers.tiny_ssl import (
    PREDICTOR,
    QUEUE,
    SMALL,
    Passes,
    Steps,
    check_resume,
    make_engine,
    plugin_tensors,
    train,
    unequal,
    weights,
)

from cl_suite.errors import UserError
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.sycon import cassle_loss
from cl_suite.methods.self_supervised.plugin import Embedded, SelfSupervisedPlugin
from cl_suite.strategies.cassle import CaSSLePlugin
from cl_suite.strategies.moco import MoCoPlugin
from cl_suite.strategies.simclr import SimCLRPlugin

Base = Literal["simclr", "moco"]
both_bases = pytest.mark.parametrize("base", ["simclr", "moco"])


def make(base: Base = "simclr", **parameters: object) -> CaSSLePlugin:
    given = {**SMALL, **PREDICTOR, **QUEUE, **parameters}
    return CaSSLePlugin(base=base, **given)  # type: ignore[arg-type]


def baseline(base: Base) -> SelfSupervisedPlugin:
    return SimCLRPlugin(**SMALL) if base == "simclr" else MoCoPlugin(**SMALL, **QUEUE)


@both_bases
def test_the_first_session_is_the_bases_bit_for_bit(base: Base) -> None:
    plain = train(make_engine(baseline(base)), 1)
    expected, kept = weights(plain), plugin_tensors(plain.plugin)
    engine = make_engine(make(base))
    passes = Passes(engine)
    train(engine, 1)
    assert unequal(weights(engine), expected) == []
    found = plugin_tensors(engine.plugin)
    assert unequal(found, kept) == []
    assert not any("past" in step for step in passes.counts)


@both_bases
def test_without_weight_every_session_is_the_bases(base: Base) -> None:
    expected = weights(train(make_engine(baseline(base))))
    engine = train(make_engine(make(base, distill_weight=0.0)))
    assert unequal(weights(engine), expected) == []
    assert not hasattr(engine.model, "predictor")


@both_bases
def test_later_sessions_differ_from_the_bases(base: Base) -> None:
    expected = weights(train(make_engine(baseline(base)), 2))
    engine = train(make_engine(make(base)), 2)
    assert "backbone.body.0.0.weight" in unequal(weights(engine), expected)


def test_its_loss_is_the_bases_and_the_weighted_distillation() -> None:
    generator = torch.Generator().manual_seed(0)
    z, past, predicted = (tuple(torch.randn(2, 5, 8, generator=generator)) for _ in range(3))
    plugin = make(temperature=0.3, distill_weight=0.7, distill_temperature=0.4)
    value = plugin.loss(Embedded(z, None, past, predicted))  # type: ignore[arg-type]
    distilled = cassle_loss(*predicted, past1=past[0], past2=past[1], temperature=0.4)
    expected = nt_xent_loss(*z, temperature=0.3) + 0.7 * distilled
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


@both_bases
def test_only_network_projector_and_predictor_get_gradients(base: Base) -> None:
    plugin = make(base)
    engine = make_engine(plugin)

    def check(strategy: object) -> None:
        names = {n for n, p in engine.model.named_parameters() if p.grad is not None}
        assert {"backbone.body.0.0.weight", "projector.0.weight", "predictor.0.weight"} <= names
        for twin in (plugin.past_, plugin.momentum_):
            assert twin is None or all(p.grad is None for p in twin.parameters())

    train(engine, 1)
    Steps(engine, check, "before_update")
    train(engine, 2, 1)


@both_bases
def test_a_stop_in_any_epoch_leaves_no_trace(base: Base, tmp_path: Path) -> None:
    check_resume(lambda: make(base), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("distill_weight", -1), ("distill_temperature", 0), ("predictor_dim", 0), ("queue_size", 0)],
)
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be"):
        make(**{name: value})
