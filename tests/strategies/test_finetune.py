"""Fine-tuning: the session's own data, the loss over all classes seen."""

from __future__ import annotations

import torch
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.finetune import FinetunePlugin


def test_a_session_sees_its_own_samples_and_moves_old_rows_too() -> None:
    torch.manual_seed(0)
    stream = make_stream()
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=1, batch_size=16, lr=0.01)
    engine, samples = Engine(stream, model, FinetunePlugin(), recipe), []
    engine.on_epoch = lambda record: samples.append(record.num_samples)
    engine.train_session(0)
    before = model.head.rows([7, 2, 5, 0])
    engine.train_session(1)
    assert samples == [48, 6]
    assert not torch.equal(model.head.rows([7, 2, 5, 0]), before)
