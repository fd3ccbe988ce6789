"""Overhead of the engine against bare PyTorch loops of the same methods, on omniglot with conv4.

The engine trains the second of two sessions. A loop of a dozen lines does the same work on the same
tensors (transforms, forward passes, losses, optimiser, moving averages). Both run in one process,
interleaved.

    python benchmarks/method_overhead.py [--rounds 5] [--epochs 2] [--methods er coconut ...]
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from in_memory import inputs_of
from speed_file import Bar, Comparison, write
from timing import seconds, summary
from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.losses.inputs import unit_rows
from cl_suite.losses.key_queue import KeyQueue, ema_update_
from cl_suite.losses.nspt import multimodal_loss, nspt_loss
from cl_suite.losses.sycon import sycon_moco_loss
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.scenarios import ClassIncremental
from cl_suite.strategies import CLERPlugin, COCONUTPlugin, ERPlugin, FinetunePlugin, SyCONPlugin

Step = Callable[[list[Tensor], Tensor, Tensor], Tensor]  # views, plain view, labels -> loss
BATCH, LR = 64, 0.01


def plugin_of(method: str) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "finetune": FinetunePlugin,
        "er": lambda: ERPlugin(buffer=484, replay="union"),
        "coconut": lambda: COCONUTPlugin(buffer=484),
        "cler": lambda: CLERPlugin(host="finetune"),
        "sycon": lambda: SyCONPlugin(queue_size=1024, projector_dim=256, predictor_dim=256),
    }
    return made[method]()


def engine_of(method: str, stream: Stream, epochs: int) -> Engine:
    torch.manual_seed(0)
    plugin = plugin_of(method)
    info = stream.info
    model = build_classifier(ModelConfig(), info.input_shape, info.num_classes, plugin)
    recipe = TrainingConfig(
        base_epochs=1,
        incremental_epochs=epochs,
        batch_size=BATCH,
        incremental_lr=LR,
        incremental_batchnorm="train",
    )
    engine = Engine(stream, model, plugin, recipe)
    engine.train_session(0)
    return engine


def bare_step(method: str, model: Classifier, plugin: Any, stream: Stream) -> Step:
    """Return a function that computes the loss of a batch from its views."""
    old = set(stream.info.session_classes[0])
    is_old = torch.tensor([c in old for c in range(stream.info.num_classes)])
    past = copy.deepcopy(model).eval().requires_grad_(False)
    network: Any = model  # with the modules that the strategy added
    before: Any = past

    def finetune(views: list[Tensor], plain: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(views[0]), labels)

    def coconut(views: list[Tensor], plain: Tensor, labels: Tensor) -> Tensor:
        features = model.features(views[0])
        rehearsal = is_old[labels]
        student = network.coconut.first(features)
        teacher = torch.zeros_like(student)
        if rehearsal.any():
            with torch.no_grad():
                teacher[rehearsal] = before.coconut.first(past.features(views[0][rehearsal]))
        texts = network.coconut.second(network.coconut.labels.embedding(labels))
        loss = F.cross_entropy(model.head(features), labels)
        loss = loss + nspt_loss(student, teacher, labels=labels, rehearsal=rehearsal)
        return loss + 0.1 * multimodal_loss(student, texts, anchors=~rehearsal)

    def cler(views: list[Tensor], plain: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(model(views[0]), labels)
        (task,) = network.pretext.tasks
        drawn = torch.randint(task.num_labels, (len(plain),))
        (logits,) = network.pretext(model, task(plain, drawn))
        return loss + F.cross_entropy(logits, drawn)

    momentum: Any = plugin.momentum_ if method == "sycon" else None
    queues = {name: KeyQueue(1024, 128) for name in ("keys1", "keys2", "past1", "past2")}

    def sycon(views: list[Tensor], plain: Tensor, labels: Tensor) -> Tensor:
        def unit(network: Any, x: Tensor) -> Tensor:
            return unit_rows(network.projector(network.features(x)))

        z = [unit(model, x) for x in views]
        with torch.no_grad():
            keys = [unit_rows(momentum.projector(momentum.backbone(x))) for x in views]
            old = [unit(past, x) for x in views]
        loss = z[0].new_zeros(())
        for own, other in ((0, 1), (1, 0)):
            loss = loss + sycon_moco_loss(
                z[own],
                keys[other],
                predicted1=network.predictor(z[own]),
                past1=old[own],
                queue=queues[f"keys{other + 1}"].filled_keys,
                past_queue=queues[f"past{other + 1}"].filled_keys,
                temperature=0.2,
            )
        for view in (0, 1):
            queues[f"keys{view + 1}"].push(keys[view])
            queues[f"past{view + 1}"].push(old[view])
        return loss / 2

    return {
        "finetune": finetune,
        "er": finetune,
        "coconut": coconut,
        "cler": cler,
        "sycon": sycon,
    }[method]


def bare_session(method: str, engine: Engine, stream: Stream, epochs: int) -> Callable[[], None]:
    model: Any = copy.deepcopy(engine.model)  # with the modules that the strategy added
    info, plugin = stream.info, engine.plugin
    new = sorted(info.session_classes[1])
    if method != "sycon":
        model.head.grow(new)
    if method == "coconut":
        model.coconut.labels.grow(new)
    raw, labels = inputs_of(stream.train[1]), torch.tensor(stream.train[1].targets)
    if method in ("er", "coconut"):
        kept = plugin.buffer_.exemplars
        images = torch.stack([kept.dataset()._flat_data[i][0] for i in range(len(kept))])
        raw = torch.cat([raw, images.to(raw.dtype)])
        labels = torch.cat([labels, torch.tensor(kept.targets)])
    optimizer = engine.training.make_optimizer(model.parameters(), 1)
    step = bare_step(method, model, plugin, stream)
    momentum = plugin.momentum_ if method == "sycon" else None
    num_views = 2 if method == "sycon" else 1

    def run() -> None:
        model.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(raw)).split(BATCH):
                batch = raw[rows]
                views = [info.train_transform(batch) for _ in range(num_views)]
                plain = info.eval_transform(batch) if method == "cler" else batch
                loss = step(views, plain, labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if momentum is not None:
                    ema_update_(momentum.backbone, model.backbone, 0.99)
                    ema_update_(
                        momentum.projector, nn.Module.get_submodule(model, "projector"), 0.99
                    )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--methods", nargs="+", default=["finetune", "er", "coconut", "cler", "sycon"]
    )
    options = parser.parse_args()
    stream = ClassIncremental(way=121).build()
    found = []
    for method in options.methods:
        ratios = []
        for _ in range(options.rounds):
            engine = engine_of(method, stream, options.epochs)
            bare = bare_session(method, engine, stream, options.epochs)
            marks: list[float] = []
            engine.on_epoch = lambda record, marks=marks: marks.append(record.seconds)
            first = seconds(bare)
            engine.train_session(1)
            ratios.append(sum(marks) / ((first + seconds(bare)) / 2))
        print(f"{method:10} engine / bare loop: {summary(ratios)}")  # noqa: T201
        name = f"{method}, an epoch"
        found.append(Comparison(name, "engine / bare", ratios, bar=Bar("at most", 1.1)))
    write("method_overhead", "Methods in the engine against bare loops", found)


if __name__ == "__main__":
    main()
