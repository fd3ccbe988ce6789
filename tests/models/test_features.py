"""The embedding of a classifier, ours or another library's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl_suite.models.classifier import build_classifier
from cl_suite.models.features import feature_function
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig


def test_ours_is_the_features_method() -> None:
    model = build_classifier(ModelConfig(), (1, 28, 28), 2).eval()
    x = torch.rand(3, 1, 28, 28)
    assert feature_function(model)(x).equal(model.features(x))


def test_a_foreign_networks_is_the_input_of_its_last_linear_layer() -> None:
    body, last = nn.Linear(4, 6), nn.Linear(6, 2)
    x = torch.rand(3, 4)
    assert feature_function(nn.Sequential(body, last))(x).equal(body(x))


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        feature_function(nn.Sequential(nn.Flatten()))


def test_evaluating_restores_each_parts_mode() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))
    model[1].eval()
    with evaluating(model):
        assert not model[0].training
    assert [part.training for part in model.modules()] == [True, True, False]
