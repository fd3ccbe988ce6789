"""Experience replay: cross-entropy on new and kept samples, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin
from cl_suite.randomness import seed_everything
from cl_suite.strategies.er import ERPlugin
from cl_suite.strategies.finetune import FinetunePlugin


def trained(plugin: StrategyPlugin, **training: Any) -> Engine:
    seed_everything(0)
    stream = make_stream(base_shots=20, shots=20)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = {"base_epochs": 4, "incremental_epochs": 4, "batch_size": 16, "lr": 0.05}
    engine = Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))
    for session in range(3):
        engine.train_session(session)
    return engine


def test_the_loss_is_the_cross_entropy_of_new_and_kept_samples() -> None:
    class Spy(ERPlugin):
        old = 0

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            expected = F.cross_entropy(template.mb_output, template.mb_y)
            torch.testing.assert_close(template.loss.squeeze(), expected)
            self.old += int(self.is_old(template.mb_y).sum())

    plugin = Spy(buffer=24, replay="union")
    trained(plugin)
    assert plugin.old == 4 * (24 + 24)  # 4 epochs of quotas 24 // 4 and 24 // 6
    plugin = Spy(buffer=24, replay_batch=10)
    trained(plugin)
    assert plugin.old == 4 * 3 * (10 + 10)  # 4 epochs of 40 samples in batches of 16


def test_in_the_first_session_it_is_plain_training() -> None:
    first = [
        trained(plugin, incremental_epochs=0).model.backbone.state_dict()
        for plugin in (ERPlugin(buffer=24), FinetunePlugin())
    ]
    assert all(first[0][name].equal(tensor) for name, tensor in first[1].items())


def test_it_forgets_less_than_fine_tuning() -> None:
    def recall(plugin: StrategyPlugin) -> float:
        engine = trained(plugin, incremental_batchnorm="train", incremental_lr=0.05)
        base = list(engine.stream.info.session_classes[0])
        confusion = engine.evaluate(2)
        return float(confusion[base, base].sum() / confusion[base].sum())

    assert recall(ERPlugin(buffer=80)) > recall(FinetunePlugin()) + 0.2
