"""Strategies that only compute on frozen features: accuracy on miniImageNet, and session cost.

1. Accuracy: features of a pretrained backbone (computed once, kept in the feature bank) go through
   the real strategies. If a strategy draws something (projection, fake streams), three seeds give
   a mean and its 95 % interval. The figures go to `results/frozen_BACKBONE.json` in $RESULTS
   (benchmarks/results by default).
2. Session cost: sessions of random features, timed after a given number of earlier classes. The
   cost of a session must not depend on that number.

    python benchmarks/frozen_features.py --root DATA --weights FILE.safetensors \
        [--backbone tf_efficientnet_lite0] [--methods teen teen_whitened]
    python benchmarks/frozen_features.py --classes 10 100 1000
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import result_file
import torch

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.bank import banked_stream
from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix
from cl_suite.metrics.headline import Headline, headline
from cl_suite.metrics.intervals import MeanInterval, mean_interval
from cl_suite.models.backbones import create_backbone
from cl_suite.models.classifier import build_classifier
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.scenarios import FSCIL
from cl_suite.strategies import (
    CRanPACPlugin,
    KLDAPlugin,
    KNNPlugin,
    LDAPlugin,
    RanPACPlugin,
    SimpleCILPlugin,
    TEENPlugin,
    TEENWhitenedPlugin,
)


@dataclass(frozen=True)
class Method:
    """A strategy with some parameters.

    Attributes:
        strategy: as on the command line.
        label: what the table prints, Markdown.
        plugin_class: the strategy's class.
        parameters: arguments of its constructor.
        seeded: names of its parameters that take the seed; empty if nothing is drawn.
        baseline: the method that it is compared with.
    """

    strategy: str
    label: str
    plugin_class: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seeded: Sequence[str] = ()
    baseline: str | None = "class_means"

    def plugin(self, seed: int) -> Any:
        """Return the strategy with this seed."""
        return self.plugin_class(**self.parameters, **dict.fromkeys(self.seeded, seed))

    def seeds(self, num: int) -> range:
        """Return the first `num` seeds, or one seed if nothing is drawn."""
        return range(num if self.seeded else 1)

    @property
    def options(self) -> dict[str, str]:
        """Its parameters as on the command line."""
        return {f"strategy.{name}": str(value).lower() for name, value in self.parameters.items()}


CHOICE, PROJECTION = ("choice_seed",), ("projection_seed", "choice_seed")
DRAWS = ("draw_seed", "choice_seed")
METHODS: Mapping[str, Method] = {
    "teen_whitened": Method("teen_whitened", "`teen_whitened`", TEENWhitenedPlugin, {}, CHOICE),
    "teen_whitened_no_margin": Method(
        "teen_whitened", "`teen_whitened`, no margin", TEENWhitenedPlugin, {"margin": 0.0}, CHOICE
    ),
    "lda": Method("lda", "`lda`, means calibrated", LDAPlugin, {}, CHOICE),
    "mahalanobis": Method(
        "lda", "`lda`, means not calibrated", LDAPlugin, {"shift_weight": 0.0}, CHOICE
    ),
    "lda_shots": Method(
        "lda",
        "`lda`, mixed with cosines by shots",
        LDAPlugin,
        {"shot_midpoint": 10.0},
        CHOICE,
    ),
    "ridge": Method(
        "ranpac", "`ranpac`, no projection", RanPACPlugin, {"num_projections": 0}, CHOICE
    ),
    "ranpac": Method("ranpac", "`ranpac`, 2,048 projections", RanPACPlugin, {}, PROJECTION),
    "c_ranpac_ridge": Method(
        "c_ranpac", "`c_ranpac`, no projection", CRanPACPlugin, {"num_projections": 0}, DRAWS
    ),
    "c_ranpac": Method(
        "c_ranpac", "`c_ranpac`, 2,048 projections", CRanPACPlugin, {}, (*PROJECTION, "draw_seed")
    ),
    "c_ranpac_800": Method(
        "c_ranpac",
        "`c_ranpac`, 2,048 projections, 800 draws as in the paper",
        CRanPACPlugin,
        {"draws": 800},
        (*PROJECTION, "draw_seed"),
    ),
    "knn": Method("knn", "`knn`", KNNPlugin, {}, (*CHOICE, "key_seed")),
    "klda": Method("klda", "`klda`", KLDAPlugin, {}, PROJECTION),
    "teen": Method("teen", "`teen`", TEENPlugin),
    "centred": Method("simple_cil", "`simple_cil`, centred", SimpleCILPlugin, {"centre": True}),
    "class_means": Method("simple_cil", "`simple_cil`", SimpleCILPlugin, baseline=None),
    "ranpac_unbalanced": Method(
        "ranpac", "`ranpac`, classes not balanced", RanPACPlugin, {"balanced": False}, PROJECTION
    ),
}
# c_ranpac draws as many features as a base class has images, which are few in these streams
COSTED = ("class_means", "teen", "mahalanobis", "klda", "ranpac", "teen_whitened")
COLUMNS = {"average": "average", "last": "last", "harmonic": "harmonic mean"}
TITLES = {"deit_tiny_patch16_224": "DeiT-tiny", "tf_efficientnet_lite0": "EfficientNet-Lite0"}
NUM_SEEDS = 3
SETTING = (
    "The pretrained backbone stays frozen, and the shots are the published ones. Three seeds are "
    "run if a strategy draws something, and one if it draws nothing."
)
RECIPE = TrainingConfig(base_epochs=0, incremental_epochs=0)


def features_of(root: str, backbone: str, weights: str) -> Stream:
    """Return miniImageNet as a stream of a pretrained backbone's features."""
    preprocessing = backbone_preprocessing(backbone)
    assert preprocessing is not None, f"backbone '{backbone}' says nothing of its preprocessing"
    stream = with_preprocessing(FSCIL(dataset="mini_imagenet", root=root).build(), preprocessing)
    network = create_backbone(backbone, stream.info.input_shape, weights=weights, frozen=True)
    return banked_stream(stream, network)


def random_features(sizes: Sequence[int], dim: int = 1280) -> Stream:
    """Return a stream of random features with five samples per class.

    Args:
        sizes: number of classes of each session.
        dim: width of a feature.
    """
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


def accuracies(stream: Stream, plugin: Any) -> tuple[Headline, list[float]]:
    """Return the figures of a run, and the accuracy after each session, as fractions."""
    engine = make_engine(stream, plugin)
    confusions = []
    for session in range(stream.info.num_sessions):
        engine.train_session(session)
        confusions.append(engine.evaluate(session))
    # a class belongs to the session that brings it first
    parts = list(enumerate(stream.info.session_classes))
    session_of = {c: i for i, part in reversed(parts) for c in part}
    hits = Hits(
        hits=torch.stack([c.diagonal() for c in confusions]).numpy(),
        counts=confusions[-1].sum(1).numpy(),
        session_of_class=np.array([session_of[c] for c in range(stream.info.num_classes)]),
    )
    return headline(hits), figures.session_accuracy(*accuracy_matrix(hits)).tolist()


def measured(stream: Stream, name: str, num_seeds: int) -> dict[str, dict[int, float]]:
    """Print the figures of a method, and return them by name and seed, as fractions."""
    method, found, curves, notes = METHODS[name], {}, [], []
    for seed in method.seeds(num_seeds):
        plugin = method.plugin(seed)
        found[seed], curve = accuracies(stream, plugin)
        curves.append(curve)
        notes.append(plugin.session_note(0))
    values = {f: {seed: getattr(h, f) for seed, h in found.items()} for f in COLUMNS}
    heads = [_in_words(mean_interval(list(column.values()))) for column in values.values()]
    curve_words = " ".join(f"{100 * value:.2f}" for value in np.mean(curves, axis=0))
    print(f"{name:24}  {heads[0]:13}  {heads[1]:13}  {heads[2]:13}  {curve_words}")  # noqa: T201
    for note in filter(None, notes):
        print(f"{'':24}  {note}")  # noqa: T201
    return values


def write_results(
    stream: Stream,
    backbone: str,
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    seeds: int,
) -> None:
    """Write the figures of these methods as a table of results."""
    folder = Path(os.environ.get("RESULTS") or result_file.RESULTS)
    path = folder / f"frozen_{backbone}.json"
    sizes = f"{len(stream.train[0]):,} images, the tests {sum(map(len, stream.test)):,}"
    rows = [
        result_file.row_record(
            name=name,
            label=METHODS[name].label,
            scenario="mini_imagenet",
            strategy=METHODS[name].strategy,
            baseline=base if (base := METHODS[name].baseline) in values else None,
            options=METHODS[name].options,
            figures=found,
        )
        for name, found in values.items()
    ]
    content = {
        "name": path.stem,
        "title": f"Frozen features on miniImageNet: {TITLES.get(backbone, backbone)}",
        "scenario": "mini_imagenet",
        "setting": f"{SETTING} The base session has {sizes}.",
        **result_file.measured_here(),
        "partial": set(values) != set(METHODS) or seeds < NUM_SEEDS,
        "command": "python benchmarks/frozen_features.py --root $MINI_IMAGENET "
        f"--weights $WEIGHTS --backbone {backbone} --seeds {seeds}",
        "needs": {
            "MINI_IMAGENET": "the folder of miniImageNet",
            "WEIGHTS": "the backbone's weights file",
        },
        "columns": COLUMNS,
        "rows": rows,
        "differences": [],
        "notes": result_file.notes_of(path),
    }
    result_file.write(path, content)
    print(f"written: {path}")  # noqa: T201


def print_accuracies(stream: Stream, backbone: str, methods: Sequence[str], seeds: int) -> None:
    """Measure these methods, then print and write their figures."""
    print(f"{'':24}  average        last           harmonic       sessions")  # noqa: T201
    values = {name: measured(stream, name, seeds) for name in METHODS if name in methods}
    write_results(stream, backbone, values, seeds)


def _in_words(found: MeanInterval) -> str:
    half_width = "" if math.isnan(found.half_width) else f" +- {100 * found.half_width:.2f}"
    return f"{100 * found.mean:5.2f}{half_width}"


def print_costs(num_classes: Sequence[int], rounds: int, way: int = 5) -> None:
    """Print the median seconds of 5-way 5-shot sessions after each of these numbers of classes.

    There are always five base classes; one large untimed session brings the other earlier classes.
    """
    print(f"{'seconds a session after':24}" + "".join(f"{n:>9} classes" for n in num_classes))  # noqa: T201
    for name in COSTED:
        cells = []
        for total in num_classes:
            sizes = [way, total - way, *[way] * rounds]
            engine = make_engine(random_features(sizes), METHODS[name].plugin(0))
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
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    parser.add_argument("--classes", type=int, nargs="+", help="show session cost at so many")
    parser.add_argument("--rounds", type=int, default=9, help="sessions timed for each")
    options = parser.parse_args()
    if options.classes:
        print_costs(options.classes, options.rounds)
    if options.root and options.weights:
        stream = features_of(options.root, options.backbone, options.weights)
        print_accuracies(stream, options.backbone, options.methods, options.seeds)
    elif not options.classes:
        parser.error("give --root and --weights, or --classes")


if __name__ == "__main__":
    main()
