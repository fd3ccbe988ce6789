"""The nearest-class-mean baseline, on our classifier and on foreign networks."""

from __future__ import annotations

import torch
from helpers.tiny_streams import make_stream
from torch import nn

from cl_suite.avalanche import api, benchmark
from cl_suite.models.classifier import Classifier
from cl_suite.strategies.prototype import PrototypePlugin


class Network(nn.Module):
    """A network that knows nothing of cl-suite."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.body(x))


def trained(plugin: PrototypePlugin, network: nn.Module) -> api.SupervisedTemplate:
    torch.manual_seed(0)
    template = api.SupervisedTemplate(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_epochs=2,
        plugins=[plugin],
        evaluator=api.silent_evaluator,
    )
    for experience in benchmark(make_stream()).train_stream:
        template.train(experience)
    return template


def test_rows_for_a_foreign_network_are_means_of_its_last_linear_layers_input() -> None:
    plugin, network = PrototypePlugin(), Network()
    trained(plugin, network)
    assert plugin.own_head_ is not None
    data = make_stream().train[1]
    images = torch.stack([data[i][0] for i in range(len(data))]).float() / 255
    mean = network.body(images)[torch.tensor(data.targets) == 6].mean(0)
    torch.testing.assert_close(plugin.own_head_.rows([6])[0], mean.detach())


def test_a_foreign_network_is_trained_in_the_first_session_only() -> None:
    plugin, network = PrototypePlugin(), Network()
    template = trained(plugin, network)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert not isinstance(network, Classifier)
    plugin.base_classes_ = [7, 2, 5, 0]
    template.train(benchmark(make_stream([[8, 9]])).train_stream[0])  # new classes
    assert all(v.equal(before[k]) for k, v in network.state_dict().items())


def test_normalised_features_are_averaged_as_directions() -> None:
    plugin, network = PrototypePlugin(normalize_features=True), Network()
    trained(plugin, network)
    assert plugin.own_head_ is not None
    assert (plugin.own_head_.weight.norm(dim=1) <= 1 + 1e-6).all()


def test_own_head_survives_its_state_dict() -> None:
    plugin, network = PrototypePlugin(), Network()
    trained(plugin, network)
    copy = PrototypePlugin()
    copy.load_state_dict(plugin.state_dict())
    assert plugin.own_head_ is not None
    assert copy.own_head_ is not None
    assert copy.own_head_.weight.equal(plugin.own_head_.weight)
    assert copy.own_head_.classes == plugin.own_head_.classes
    assert copy.base_classes_ == plugin.base_classes_
