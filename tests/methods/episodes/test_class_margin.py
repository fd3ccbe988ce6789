"""A margin for each new class: the network, its fit, and head rules that use it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.feature_streams import accuracy, make_engine, make_feature_stream, trained

from cl_suite import registry
from cl_suite.learner.rule import rule_plugin
from cl_suite.methods.episodes.class_margin import (
    GAMMAS,
    ClassMargins,
    Scored,
    fit_margins,
    nearest_cosines,
    restored_margins,
)
from cl_suite.models.heads.offset import OffsetCosineHead

RULES = ("prototype", "simple_cil", "teen", "teen_whitened")


def plugin_of(name: str, **parameters: Any) -> Any:
    return registry.get("strategy", name).load()(**parameters)


def test_the_nearest_cosines_are_sorted_and_filled_up() -> None:
    new, base = torch.tensor([[0.8, 0.6]]), torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    assert nearest_cosines(new, base, 3)[0].tolist() == pytest.approx([0.8, 0.6, 0.6])
    assert nearest_cosines(new, base, 1)[0].tolist() == pytest.approx([0.8])


def test_the_order_of_base_classes_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    new, base = torch.randn(3, 5, generator=generator), torch.randn(9, 5, generator=generator)
    # a product's rounding depends on the order
    torch.testing.assert_close(nearest_cosines(new, base.flip(0)), nearest_cosines(new, base))


def scored(easy: float, hard: float) -> Scored:
    """Return a stream of two base classes and two new ones, one near a base class and one not."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(400) % 4
    scores = 0.1 * torch.rand(400, 4, generator=generator)
    scores[torch.arange(400), truth] += 0.2
    # images of the new classes look like the first base class
    scores[truth == 2, 0] += easy
    scores[truth == 3, 0] += hard
    return Scored(scores, torch.tensor([[0.2, 0.1], [0.9, 0.1]]), truth)


def test_a_class_whose_images_are_taken_for_base_classes_gets_the_larger_margin() -> None:
    network = ClassMargins(2)
    fit_margins(network, [scored(easy=0.0, hard=0.3)])
    easy, hard = network(scored(0.0, 0.3).nearest).tolist()
    assert hard > easy + 0.05


def test_both_sides_weigh_alike_and_so_do_the_classes_of_a_side() -> None:
    truth = torch.tensor([0, 0, 0, 1, 2, 2])
    weights = Scored(torch.zeros(6, 3), torch.zeros(1, 2), truth).weights
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[truth < 2].sum()) == pytest.approx(float(weights[truth == 2].sum()))
    assert float(weights[:3].sum()) == pytest.approx(float(weights[3]))


def test_an_unfitted_network_has_no_margin_and_its_seed_leaves_the_global_one_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    network = ClassMargins(seed=5)
    assert torch.random.get_rng_state().equal(before)
    assert network.margins(torch.randn(4, 6), torch.randn(9, 6)).equal(torch.zeros(4))


def test_a_fitted_network_survives_saving() -> None:
    network = ClassMargins(2)
    fit_margins(network, [scored(0.0, 0.3)])
    copy = restored_margins(network.state_dict())
    nearest = torch.rand(5, 2)
    assert copy(nearest).equal(network(nearest))


@pytest.mark.parametrize("name", RULES)
def test_new_classes_have_margins_of_their_own_and_base_classes_none(name: str) -> None:
    plugin = plugin_of(name, class_margin=True)
    head = trained(plugin, make_feature_stream()).model.head
    assert isinstance(head, OffsetCosineHead)
    base = head.offsets[head.index(plugin.base_classes_)]
    assert base.equal(torch.zeros(12))
    columns = plugin.margin_choice_["columns"], plugin.margin_choice_["table"]
    assert columns[0][0] == "gamma"
    assert columns[1][:, 0].tolist() == list(GAMMAS)
    if float(plugin.margin_network_["gamma"]):
        new = head.offsets[12:]
        assert float(new.max() - new.min()) > 0
    assert "class margins: chose gamma" in plugin.session_note(0)


@pytest.mark.parametrize("name", RULES)
def test_the_rule_without_margins_is_the_same_to_the_bit(name: str) -> None:
    plain = trained(plugin_of(name), make_feature_stream()).model.head
    head = trained(plugin_of(name, class_margin=True), make_feature_stream()).model.head
    assert head.weight.equal(plain.weight)
    state = plugin_of(name).state_dict()
    assert not state["margin_network_"]
    assert not state["margin_choice_"]


def test_margins_help_class_means_of_few_shots() -> None:
    stream = make_feature_stream(signed=False)
    plain = accuracy(trained(plugin_of("simple_cil"), stream))
    assert accuracy(trained(plugin_of("simple_cil", class_margin=True), stream)) >= plain


@pytest.mark.parametrize("name", RULES)
def test_it_resumes_between_sessions_as_if_it_had_never_stopped(name: str) -> None:
    stream = make_feature_stream()
    through = trained(plugin_of(name, class_margin=True), stream)
    first = trained(plugin_of(name, class_margin=True), stream, num_sessions=2)
    second = make_engine(plugin_of(name, class_margin=True), stream)
    second.load_state_dict(first.state_dict())
    for session in (2, 3):
        second.train_session(session)
    queries = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    assert second.model.head(queries).equal(through.model.head(queries))


@pytest.mark.parametrize("name", RULES)
def test_a_learner_does_not_take_the_rule(name: str) -> None:
    assert rule_plugin(name, {"class_margin": True}) is None


def test_a_base_session_too_small_for_fake_streams_gives_no_margin() -> None:
    plugin = plugin_of("simple_cil", class_margin=True)
    head = trained(plugin, make_feature_stream(base_images=3)).model.head
    assert isinstance(head, OffsetCosineHead)
    assert head.offsets.equal(torch.zeros(18))
