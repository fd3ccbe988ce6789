"""Strategies that only compute on frozen features: accuracy on miniImageNet, and session cost.

1. Accuracy: features of a pretrained backbone (computed once, kept in the feature bank) go through
   the real strategies. Where a strategy draws something (projection, fake streams), three seeds
   give a mean and its 95 % interval.
2. Session cost: sessions of random features, timed after so many classes. What a session costs
   must not depend on how many classes came before.

    python benchmarks/frozen_features.py --root DATA --weights FILE.safetensors \
        [--backbone tf_efficientnet_lite0] [--methods teen teen_whitened]
    python benchmarks/frozen_features.py --classes 10 100 1000
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.bank import banked_stream
from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.metrics.headline import headline
from cl_suite.metrics.intervals import mean_interval
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.scenarios import FSCIL
from cl_suite.strategies import (
    LDAPlugin,
    RanPACPlugin,
    SimpleCILPlugin,
    TEENPlugin,
    TEENWhitenedPlugin,
)

METHODS: dict[str, Callable[[int], Any]] = {
    "class_means": lambda seed: SimpleCILPlugin(),
    "centred": lambda seed: SimpleCILPlugin(centre=True),
    "teen": lambda seed: TEENPlugin(),
    "mahalanobis": lambda seed: LDAPlugin(shift_weight=0.0, choice_seed=seed),
    "lda": lambda seed: LDAPlugin(choice_seed=seed),
    "ridge": lambda seed: RanPACPlugin(num_projections=0, choice_seed=seed),
    "ranpac": lambda seed: RanPACPlugin(projection_seed=seed, choice_seed=seed),
    "ranpac_unbalanced": lambda seed: RanPACPlugin(
        balanced=False, projection_seed=seed, choice_seed=seed
    ),
    "teen_whitened_no_margin": lambda seed: TEENWhitenedPlugin(margin=0.0, choice_seed=seed),
    "teen_whitened": lambda seed: TEENWhitenedPlugin(choice_seed=seed),
}
FIXED = {"class_means", "centred", "teen"}  # nothing is drawn
RECIPE = TrainingConfig(base_epochs=0, incremental_epochs=0)


def features_of(root: str, backbone: str, weights: str) -> Stream:
    """Return miniImageNet as a stream of a pretrained backbone's features."""
    preprocessing = backbone_preprocessing(backbone)
    assert preprocessing is not None, f"backbone '{backbone}' says nothing of its preprocessing"
    stream = with_preprocessing(FSCIL(dataset="mini_imagenet", root=root).build(), preprocessing)
    network = create_backbone(backbone, stream.info.input_shape, weights=weights, frozen=True)
    return banked_stream(stream, network)


def random_features(sizes: Sequence[int], dim: int = 1280) -> Stream:
    """Return a stream of random features with so many classes a session, five samples of each."""
    generator = torch.Generator().manual_seed(0)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    sessions = [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]

    def samples(classes: Sequence[int], images: int) -> TensorSamples:
        targets = [c for c in classes for _ in range(images)]
        return TensorSamples(torch.rand(len(targets), dim, generator=generator), targets)

    return build_stream(
        name="random features",
        class_names=[str(c) for c in range(sum(sizes))],
        session_classes=sessions,
        train=[samples(c, 5) for c in sessions],
        test=[samples(c, 1) for c in sessions],
        train_transform=Identity(),
        eval_transform=Identity(),
    )


def make_engine(stream: Stream, plugin: Any) -> Engine:
    seed_everything(0)
    info = stream.info
    model = build_classifier(
        ModelConfig(backbone="identity", frozen=True), info.input_shape, info.num_classes, plugin
    )
    return Engine(stream, model, plugin, RECIPE)


def accuracies(stream: Stream, plugin: Any) -> list[float]:
    """Return average, last, harmonic mean, then the accuracy after each session, in per cent."""
    engine = make_engine(stream, plugin)
    confusions = []
    for session in range(stream.info.num_sessions):
        engine.train_session(session)
        confusions.append(engine.evaluate(session))
    session_of = {c: i for i, part in enumerate(stream.info.session_classes) for c in part}
    hits = Hits(
        hits=torch.stack([c.diagonal() for c in confusions]).numpy(),
        counts=confusions[-1].sum(1).numpy(),
        session_of_class=np.array([session_of[c] for c in range(stream.info.num_classes)]),
    )
    found = headline(hits)
    curve = figures.session_accuracy(*accuracy_matrix(hits))
    return [100 * v for v in (found.average, found.last, found.harmonic, *curve)]


def print_accuracies(stream: Stream, methods: Sequence[str], seeds: int) -> None:
    print(f"{'':24}  average        last           harmonic       sessions")  # noqa: T201
    for name in methods:
        rows, notes = [], []
        for seed in range(1 if name in FIXED else seeds):
            plugin = METHODS[name](seed)
            rows.append(accuracies(stream, plugin))
            notes.append(plugin.session_note(0))
        columns = [mean_interval(column) for column in zip(*rows, strict=True)]
        heads = [
            f"{c.mean:5.2f}" + ("" if math.isnan(c.half_width) else f" +- {c.half_width:.2f}")
            for c in columns[:3]
        ]
        curve = " ".join(f"{c.mean:.2f}" for c in columns[3:])
        print(f"{name:24}  {heads[0]:13}  {heads[1]:13}  {heads[2]:13}  {curve}")  # noqa: T201
        for note in filter(None, notes):
            print(f"{'':24}  {note}")  # noqa: T201


def print_costs(num_classes: Sequence[int], rounds: int, way: int = 5) -> None:
    """Print the median seconds of 5-way 5-shot sessions that begin after so many classes.

    Five base classes throughout; what is missing comes in one large session before those timed.
    """
    print(f"{'seconds a session after':24}" + "".join(f"{n:>9} classes" for n in num_classes))  # noqa: T201
    for name in ("class_means", "teen", "mahalanobis", "ranpac", "teen_whitened"):
        cells = []
        for total in num_classes:
            sizes = [way, total - way, *[way] * rounds]
            engine = make_engine(random_features(sizes), METHODS[name](0))
            times = []
            for session in range(len(sizes)):
                start = time.perf_counter()
                engine.train_session(session)
                times.append(time.perf_counter() - start)
            cells.append(statistics.median(times[2:]))
        print(f"{name:24}" + "".join(f"{seconds:17.4f}" for seconds in cells))  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", help="folder of miniImageNet")
    parser.add_argument("--weights", help="the backbone's .safetensors file")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--classes", type=int, nargs="+", help="show session cost at so many")
    parser.add_argument("--rounds", type=int, default=9, help="sessions timed for each")
    options = parser.parse_args()
    if options.classes:
        print_costs(options.classes, options.rounds)
    if options.root and options.weights:
        stream = features_of(options.root, options.backbone, options.weights)
        print_accuracies(stream, options.methods, options.seeds)
    elif not options.classes:
        parser.error("give --root and --weights, or --classes")


if __name__ == "__main__":
    main()
