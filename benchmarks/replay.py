"""Replay methods on split CIFAR-10, beside the figures of another framework on the same stream.

    python benchmarks/replay.py --root CIFAR10 [--seeds 0 1 2] [--methods er der]

Five sessions of two classes with 500 training and 100 test images a class, one epoch, ResNet-18
from random weights (timm's, with its 7 x 7 stem) on 32 pixels, batches of 32 with 32 samples
replayed, a buffer of 200, plain SGD at 0.03, crop and flip. Everything else is each method's own
default. The table shows the last accuracy over all classes. The other framework's figures were
measured on this stream with its version of May 2026.

ROOT holds one folder a class; the names of test images begin with `test`. Images are taken in the
order of their names. Without ROOT, random pictures show that the program runs.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from cl_suite import registry
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, RandomCropFlip, ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.metrics.intervals import mean_interval
from cl_suite.models.classifier import build_classifier
from cl_suite.randomness import seed_everything
from cl_suite.runs.config import RunConfig, resolve

WAY, PIXELS = 2, 32
STANDARD = ToFloat((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2615))  # of CIFAR-10
RECIPE = {
    "training.base_epochs": "1",
    "training.incremental_epochs": "1",
    "training.batch_size": "32",
    "training.optimizer": "sgd",
    "training.lr": "0.03",
    "training.incremental_lr": "null",
    "training.momentum": "0",
    "training.nesterov": "false",
    "training.weight_decay": "0",
    "training.schedule": "constant",
    "strategy.buffer": "200",
    "strategy.replay_batch": "32",
}


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        strategy: as on the command line.
        label: its text in the table.
        theirs: the other framework's last accuracies, %, from seed 0 on.
        options: parameters that the row names.
        least: what the mean over seeds 0 to 4 must reach, %; None if nothing was promised.
    """

    strategy: str
    label: str
    theirs: Sequence[float]
    options: Mapping[str, str] = field(default_factory=dict)
    least: float | None = None


def _der(alpha: str, beta: str) -> dict[str, str]:
    return {"strategy.alpha": alpha, "strategy.beta": beta}


METHODS = {
    "er": Method("er", "ER", (29.9, 31.8, 29.7), least=29.0),
    "er_ace": Method("er_ace", "ER-ACE", (27.0, 26.1, 26.5), least=26.0),
    "der_pp": Method(
        "der", "DER++ alpha .3, beta .5", (17.0, 17.6, 20.7), _der("0.3", "0.5"), least=16.5
    ),
    "der": Method("der", "DER alpha .3", (16.1,), _der("0.3", "0")),
    "er_ace_separate": Method(
        "er_ace", "ER-ACE, separate passes", (27.0, 26.1, 26.5), {"strategy.passes": "separate"}
    ),
    "der_pp_separate": Method(
        "der",
        "DER++, separate passes",
        (17.0, 17.6, 20.7),
        _der("0.3", "0.5") | {"strategy.passes": "separate"},
    ),
    "der_pp_seen": Method(
        "der",
        "DER++, rows of seen classes",
        (17.0, 17.6, 20.7),
        _der("0.3", "0.5") | {"strategy.head_rows": "seen"},
    ),
    "der_pp_labels": Method("der", "DER++ alpha 0, beta 1", (26.5, 16.1), _der("0", "1")),
}


def images_of(root: Path, is_test: bool, num: int) -> dict[str, Tensor]:
    """Return the first images of each class folder, `(num, 3, 32, 32)` uint8."""
    found = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        paths = sorted(p for p in folder.iterdir() if p.name.startswith("test") == is_test)
        if len(paths) < num:
            part = "test" if is_test else "training"
            raise SystemExit(f"{folder} has {len(paths)} {part} images instead of {num}")
        images = [decode_image(str(path), ImageReadMode.RGB) for path in paths[:num]]
        found[folder.name] = torch.stack(images)
    return found


def stream_of(train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Stream:
    """Return the stream of these images, two classes a session in the order of their names."""
    names = sorted(train)
    sessions = [list(range(i, i + WAY)) for i in range(0, len(names), WAY)]

    def samples(images: Mapping[str, Tensor], classes: Sequence[int]) -> TensorSamples:
        parts = [images[names[c]] for c in classes]
        targets = [c for c, part in zip(classes, parts, strict=True) for _ in part]
        return TensorSamples(torch.cat(parts), targets)

    return build_stream(
        name="split_cifar10",
        class_names=names,
        session_classes=sessions,
        train=[samples(train, classes) for classes in sessions],
        test=[samples(test, classes) for classes in sessions],
        train_transform=Compose((RandomCropFlip(), STANDARD)),
        eval_transform=STANDARD,
    )


def random_stream() -> Stream:
    """Return a stream of four classes of random pictures."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 4, 40, 3, PIXELS, PIXELS), generator=generator)
    train, test = ({str(c): part[c] for c in range(4)} for part in images.to(torch.uint8))
    return stream_of(train, test)


def config_of(method: Method, backbone: str, seed: int) -> RunConfig:
    """Return the settings of a run: the method's own, and the recipe."""
    given = {"model.backbone": backbone, **RECIPE, **method.options, "seed": str(seed)}
    pair = registry.get("scenario", "class_incremental"), registry.get("strategy", method.strategy)
    (config,), _ = resolve(*pair, [f"--{name}={value}" for name, value in given.items()])
    return config


def last_accuracy(stream: Stream, config: RunConfig) -> tuple[float, list[float]]:
    """Return the accuracy over all classes after the last session, and that of each class, in %."""
    info = stream.info
    seed_everything(config.seed)
    model = build_classifier(config.model, info.input_shape, info.num_classes, config.strategy)
    engine = Engine(stream, model, config.strategy, config.training)
    for session in range(info.num_sessions):
        engine.train_session(session)
    confusion = engine.evaluate(info.num_sessions - 1)
    each = 100 * confusion.diagonal() / confusion.sum(1)
    return float(100 * confusion.diagonal().sum() / confusion.sum()), each.tolist()


def row_of(method: Method, ours: Mapping[int, float]) -> str:
    """Return a row of the table."""
    found = mean_interval(list(ours.values()))
    width = "" if math.isnan(found.half_width) else f" +- {found.half_width:.1f}"
    values = " ".join(f"{value:.1f}" for value in ours.values())
    theirs = " ".join(f"{value:.1f}" for value in method.theirs)
    mean = sum(method.theirs) / len(method.theirs)
    mark = "" if method.least is None else f", mark {method.least:.1f}"
    return (
        f"{method.label:27} {found.mean:5.1f}{width} ({values}); "
        f"the other framework {mean:.1f} ({theirs}){mark}"
    )


def main() -> None:
    """Run the methods and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="folder of CIFAR-10, one folder a class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--log", type=Path, help="file that gets a line of each run")
    options = parser.parse_args()
    if options.root is None:
        stream = random_stream()
        print("random pictures: these accuracies mean nothing", flush=True)  # noqa: T201
    else:
        parts = [images_of(options.root, t, num) for t, num in ((False, 500), (True, 100))]
        stream = stream_of(*parts)
    for name in options.methods:
        method, ours = METHODS[name], {}
        for seed in options.seeds:
            config = config_of(method, options.backbone, seed)
            ours[seed], each = last_accuracy(stream, config)
            if options.log is not None:
                with options.log.open("a") as log:
                    log.write(json.dumps([name, seed, round(ours[seed], 2), each]) + "\n")
        print(row_of(method, ours), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
