"""Whole runs against Avalanche's stock loop and evaluation, on the same stream and network.

1. A frozen network on miniImageNet's nine sessions: Avalanche's nearest class means and its
   `StreamingLDA` against `simple_cil` and `lda`. Each run of ours is a whole `cl-suite run`, with
   dashboard and checkpoints: once with an empty bank (cold) and once with a full one (warm).
2. ER-ACE and plain replay on Omniglot with conv4: training and evaluation, time a trained sample.

Avalanche gets our streams, so images and transforms are the same. It evaluates the sessions seen so
far after each session, as we do; its loggers are off. Sides take turns in one process.

    python -m benchmarks peers_avalanche [--root DATA --weights FILE] [--rounds 1]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from speed_file import Bar, Comparison, cpu_seconds, in_turns, paired, report
from torch import nn

from cl_suite.avalanche.api import dataset, quiet
from cl_suite.cli import main as cl_suite
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.metrics.headline import headline
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.models.settings import ModelConfig
from cl_suite.report import loaded_run
from cl_suite.runs.folder import RunFolder
from cl_suite.scenarios import FSCIL, ClassIncremental
from cl_suite.strategies import ERACEPlugin, ERPlugin

BATCH, BUFFER = 64, 500
COLD, WARM = Bar("at least", 3.5), Bar("at least", 100)
OURS = {"NCM": "simple_cil", "StreamingLDA": "lda"}


def with_tasks(stream: Stream) -> Any:
    """Return a stream for Avalanche whose batches end with a task label, as its plugins need."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline

    info = stream.info

    def data(parts: Sequence[Any]) -> list[Any]:
        ids = [range(len(samples)) for samples in parts]
        return [
            dataset(samples, info.train_transform, info.eval_transform, rows, [0] * len(rows))
            for samples, rows in zip(parts, ids, strict=True)
        ]

    made = benchmark_from_datasets(train=data(stream.train), test=data(stream.test))
    return with_classes_timeline(made)


def stock(accuracy: bool = True) -> Any:
    """Return Avalanche's evaluation of the accuracy, without loggers."""
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin

    return EvaluationPlugin(accuracy_metrics(stream=accuracy), loggers=[])


def sessions_of(strategy: Any, streams: Any) -> float:
    """Train and evaluate on each session; return the last accuracy over all classes."""
    found: dict[str, float] = {}
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        for number, experience in enumerate(streams.train_stream):
            strategy.train(experience)
            found = strategy.eval(streams.test_stream[: number + 1])
    return next(value for name, value in found.items() if name.startswith("Top1_Acc_Stream"))


def ncm(network: nn.Module, width: int, classes: int) -> Any:
    from avalanche.models import NCMClassifier, TrainEvalModel
    from avalanche.training.plugins.update_ncm import CurrentDataNCMUpdate
    from avalanche.training.templates import SupervisedTemplate

    head = nn.Linear(width, classes)
    model = TrainEvalModel(network, head, NCMClassifier(normalize=True))
    return SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(head.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_epochs=0,
        train_mb_size=BATCH,
        eval_mb_size=BATCH,
        plugins=[CurrentDataNCMUpdate()],
        evaluator=stock(),
    )


def streaming_lda(network: nn.Module, width: int, classes: int) -> Any:
    from avalanche.training.supervised import StreamingLDA

    return StreamingLDA(
        slda_model=network,
        criterion=nn.CrossEntropyLoss(),
        input_size=width,
        num_classes=classes,
        train_mb_size=BATCH,
        eval_mb_size=BATCH,
        evaluator=stock(),
    )


PEERS: dict[str, Callable[[nn.Module, int, int], Any]] = {
    "NCM": ncm,
    "StreamingLDA": streaming_lda,
}


def frozen_runs(options: argparse.Namespace, notes: list[str]) -> list[Comparison]:
    """Compare whole runs on a frozen network."""
    preprocessing = backbone_preprocessing(options.backbone)
    assert preprocessing is not None
    stream = FSCIL(dataset="mini_imagenet", root=options.root).build()
    stream = with_preprocessing(stream, preprocessing)
    streams = with_tasks(stream)
    found = []
    for name in options.methods:
        network = create_backbone(
            options.backbone, stream.info.input_shape, weights=options.weights, frozen=True
        ).eval()
        last: dict[str, float] = {}
        times = one_frozen(name, network, stream, streams, options, last)
        both = {"theirs": times["theirs"]}
        for kind, bar in (("cold", COLD), ("warm", WARM)):
            sides = {**both, "ours": times[kind]}
            title = f"{name}, nine sessions, {kind} bank"
            found.append(paired(title, "theirs / ours", sides, unit="CPU s", bar=bar))
        notes.append(f"{name}: last accuracy ours {last['ours']:.2%}, theirs {last['theirs']:.2%}")
    return found


def one_frozen(
    name: str,
    network: nn.Module,
    stream: Stream,
    streams: Any,
    options: argparse.Namespace,
    last: dict[str, float],
) -> dict[str, list[float]]:
    """Return the times of the three sides; the last accuracies go to `last`."""
    with torch.no_grad():
        width = network(torch.zeros(1, *stream.info.input_shape)).shape[1]

    def theirs() -> None:
        with torch.no_grad():
            strategy = PEERS[name](network, width, stream.info.num_classes)
        last["theirs"] = sessions_of(strategy, streams)

    times: dict[str, list[float]] = {"theirs": [], "cold": [], "warm": []}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CL_SUITE_BANK"] = f"{folder}/bank"
            command = ["run", "mini_imagenet", OURS[name], "--scenario.root", options.root]
            command += ["--model.backbone", options.backbone, "--model.weights", options.weights]
            command += ["--model.frozen", "true", "--training.base_epochs", "0"]
            command += ["--device", "cpu", "--out", folder, "--overwrite"]

            def ours(command: list[str] = command) -> None:
                with contextlib.redirect_stdout(io.StringIO()):
                    assert cl_suite(command) == 0

            # first in the first round: our runs raise glibc's thresholds, which helps theirs too
            if not number % 2:
                times["theirs"].append(cpu_seconds(theirs))
            times["cold"].append(cpu_seconds(ours))
            times["warm"].append(cpu_seconds(ours))
            if number % 2:
                times["theirs"].append(cpu_seconds(theirs))
            run = Path(folder) / "mini_imagenet" / OURS[name] / "seed0"
            last["ours"] = headline(loaded_run.load(RunFolder(run)).hits).last
    return times


@dataclass
class Trained:
    """What one side of a replay comparison did: samples in training passes, last accuracy."""

    samples: int = 0
    accuracy: float = 0.0

    def count(self, model: nn.Module, inputs: Any) -> None:
        """Count a batch; a forward hook of the network."""
        self.samples += len(inputs[0]) if model.training else 0


def our_replay(plugin: Any, stream: Stream, recipe: TrainingConfig) -> Trained:
    torch.manual_seed(0)
    info, done = stream.info, Trained()
    model = build_classifier(ModelConfig(head="linear"), info.input_shape, info.num_classes)
    model.backbone.register_forward_pre_hook(done.count)
    engine = Engine(stream, model, plugin, recipe)
    for session in range(info.num_sessions):
        engine.train_session(session)
        confusion = engine.evaluate(session)
        done.accuracy = float(confusion.diagonal().sum() / confusion.sum())
    return done


def their_replay(kind: str, stream: Stream, recipe: TrainingConfig) -> Trained:
    from avalanche.training import supervised

    torch.manual_seed(0)
    info, done = stream.info, Trained()
    backbone = create_backbone("conv4", info.input_shape)
    with torch.no_grad():
        width = backbone(torch.zeros(1, *info.input_shape)).shape[1]
    backbone.register_forward_pre_hook(done.count)
    model = nn.Sequential(backbone, nn.Linear(width, info.num_classes))
    more = {"batch_size_mem": recipe.batch_size} if kind == "ER_ACE" else {}
    strategy = getattr(supervised, kind)(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=recipe.lr),
        criterion=nn.CrossEntropyLoss(),
        mem_size=BUFFER,
        train_mb_size=recipe.batch_size,
        train_epochs=recipe.base_epochs,
        eval_mb_size=recipe.eval_batch_size,
        evaluator=stock(),
        **more,
    )
    done.accuracy = sessions_of(strategy, with_tasks(stream))
    return done


def replay(kind: str, options: argparse.Namespace, notes: list[str]) -> Comparison:
    """Compare a replay method on Omniglot, per sample that was trained on.

    Both replay a batch beside each batch of the stream.
    """
    stream = ClassIncremental(way=options.way).build()
    recipe = TrainingConfig(
        base_epochs=1, incremental_epochs=1, batch_size=32, lr=0.03, incremental_batchnorm="train"
    )
    found: dict[str, Trained] = {}

    def ours() -> None:
        plugin = ERACEPlugin(buffer=BUFFER, replay_batch=recipe.batch_size)
        chosen = plugin if kind == "ER_ACE" else ERPlugin(buffer=BUFFER)
        found["ours"] = our_replay(chosen, stream, recipe)

    def theirs() -> None:
        found["theirs"] = their_replay(kind, stream, recipe)

    def a_sample(name: str, side: Callable[[], None]) -> float:
        return 1e3 * cpu_seconds(side) / found[name].samples

    sides = {"ours": lambda: a_sample("ours", ours), "theirs": lambda: a_sample("theirs", theirs)}
    times = in_turns(sides, options.replay_rounds)
    notes += [
        f"{kind}, {name}: {done.samples:,} samples trained on, last accuracy {done.accuracy:.2%}"
        for name, done in found.items()
    ]
    title = f"{kind}, {stream.info.num_sessions} sessions of Omniglot, conv4"
    return paired(title, "theirs / ours", times, unit="CPU ms a sample, evaluation included")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", help="miniImageNet; without it, replay alone is compared")
    parser.add_argument("--weights", help="safetensors file of the backbone")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--methods", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--way", type=int, default=61, help="classes a session of Omniglot")
    parser.add_argument("--rounds", type=int, default=1, help="of the runs on a frozen network")
    parser.add_argument("--replay-rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    notes: list[str] = []
    found = [replay(kind, options, notes) for kind in ("ER_ACE", "Replay")]
    if options.root and options.weights:
        found += frozen_runs(options, notes)
    else:
        notes.append("no --root and --weights, so the runs on a frozen network are left out")
    report("peers_avalanche", "Whole runs against Avalanche", found, notes=notes)


if __name__ == "__main__":
    main()
