"""Projectors and predictors behind a network's features, and copies of such networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl_suite.methods.self_supervised.projected import (
    Wrapped,
    add_projector,
    embed,
    follow_modes,
    make_predictor,
    make_projector,
    still_copy,
)
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything

X = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def foreign() -> Wrapped:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, 8))
    wrapped = Wrapped(network)
    add_projector(wrapped, 12, hidden_dim=6, projection_dim=4, predictor_dim=7)
    return wrapped


def test_a_projector_and_a_predictor_are_the_layers_of_the_papers() -> None:
    kinds = [type(layer) for layer in make_projector(12, 6, 4)]  # type: ignore[attr-defined]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
    predictor = make_predictor(4, 6)
    kinds = [type(layer) for layer in predictor]  # type: ignore[attr-defined]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert predictor(torch.rand(3, 4)).shape == (3, 4)


def test_a_predictor_takes_no_random_number_from_what_follows() -> None:
    seed_everything(1)
    expected = torch.rand(3)
    seed_everything(1)
    make_predictor(4, 6)
    assert torch.rand(3).equal(expected)


def test_projections_are_the_projectors_of_the_features() -> None:
    wrapped = foreign()
    assert isinstance(wrapped.projector, nn.Module)
    features = wrapped.network[:3](X)  # type: ignore[index]
    torch.testing.assert_close(embed(wrapped, X), wrapped.projector(features))
    model = build_classifier(ModelConfig(), (1, 16, 16), 8)
    add_projector(model, model.feature_dim, hidden_dim=6, projection_dim=4)
    assert isinstance(model.projector, nn.Module)
    model.eval()
    torch.testing.assert_close(embed(model, X), model.projector(model.features(X)))


def test_what_is_there_is_not_made_again() -> None:
    model = build_classifier(ModelConfig(), (1, 16, 16), 8)
    for predictor_dim in (None, 7, None):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        add_projector(
            model, model.feature_dim, hidden_dim=6, projection_dim=4, predictor_dim=predictor_dim
        )
        assert all(model.state_dict()[k].equal(v) for k, v in before.items())
    assert hasattr(model, "predictor")


@pytest.mark.parametrize("mode", [True, False])
def test_a_copy_shares_no_tensor_has_no_gradient_and_the_same_mode(mode: bool) -> None:
    wrapped = foreign().train(mode)
    twin = still_copy(wrapped)
    assert twin.training == mode
    assert embed(twin, X).equal(embed(wrapped, X))
    ours = {tensor.data_ptr() for tensor in wrapped.state_dict().values()}
    assert not ours & {tensor.data_ptr() for tensor in twin.state_dict().values()}
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in wrapped.parameters())


def test_a_copy_takes_over_the_mode_of_each_part() -> None:
    wrapped = foreign()
    twin = still_copy(wrapped).eval()
    wrapped.network.eval()
    follow_modes(twin, wrapped)
    modes = [part.training for part in wrapped.modules()]
    assert [part.training for part in twin.modules()] == modes
    assert True in modes
    assert False in modes
