"""Training steps with and without memory that glibc keeps, and against a bare loop.

A run raises glibc's thresholds, so freed memory stays with the process. They hold for a whole
process, so each side runs in a fresh one, in turns. There the engine trains a session, and a bare
loop does the same steps.

    python -m benchmarks training_step [--networks conv4 resnet18] [--rounds 3] [--steps 8]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from speed_file import Bar, Comparison, in_turns, paired, report

CLASSES, WARM_UP = 10, 3  # steps of warm-up hold each class once


@dataclass(frozen=True)
class Network:
    """A network and the batch it trains on."""

    backbone: str
    channels: int
    size: int
    batch: int
    settings: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    "conv4": Network("conv4", 1, 28, 64),
    "resnet18": Network("resnet18", 3, 64, 32),
    "deit_lora": Network("deit_tiny_patch16_224", 3, 224, 16, {"lora_rank": 8}),
    "tiny": Network("test_resnet", 3, 32, 4),  # for the tests
}


def spent() -> tuple[float, float, int]:
    """Return user and system time and the page faults of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime, used.ru_minflt


def session_of(network: Network, steps: int) -> tuple[Any, Any]:
    """Return a stream of one session of random images, and its recipe of one epoch."""
    import torch

    from cl_suite.data.samples import TensorSamples
    from cl_suite.data.stream import build_stream
    from cl_suite.data.transforms import ToFloat
    from cl_suite.engine.training import TrainingConfig

    torch.manual_seed(0)
    num, size = network.batch * steps, network.size
    images = torch.randint(0, 256, (num, network.channels, size, size)).byte()
    labels = [row % CLASSES for row in range(num)]
    plain = ToFloat([0.5] * network.channels, [0.5] * network.channels)
    stream = build_stream(
        name="random",
        class_names=[str(label) for label in range(CLASSES)],
        session_classes=[list(range(CLASSES))],
        train=[TensorSamples(images, labels)],
        test=[TensorSamples(images[:CLASSES].clone(), labels[:CLASSES])],
        train_transform=plain,
        eval_transform=plain,
    )
    return stream, TrainingConfig(base_epochs=1, batch_size=network.batch, lr=0.01)


def model_of(network: Network, stream: Any) -> Any:
    import torch

    from cl_suite.models.classifier import build_classifier
    from cl_suite.models.settings import ModelConfig

    torch.manual_seed(0)
    settings = ModelConfig(backbone=network.backbone, **network.settings)
    return build_classifier(settings, stream.info.input_shape, CLASSES)


def bare_epoch(network: Network, stream: Any, recipe: Any) -> Callable[[], None]:
    """Return a loop of a dozen lines over the same tensors."""
    import torch

    model = model_of(network, stream)
    model.head.grow(range(CLASSES))
    optimizer = recipe.make_optimizer(model.parameters(), 0)
    samples, transform = stream.train[0], stream.info.train_transform
    labels = torch.tensor(samples.targets)

    def run() -> None:
        model.train()
        for rows in torch.randperm(len(labels)).split(recipe.batch_size):
            optimizer.zero_grad()
            scores = model(transform(samples.inputs[rows]))
            torch.nn.functional.cross_entropy(scores, labels[rows]).backward()
            optimizer.step()

    return run


def engine_epoch(network: Network, stream: Any, recipe: Any) -> Callable[[], None]:
    from cl_suite.engine.engine import Engine
    from cl_suite.strategies import FinetunePlugin

    engine = Engine(stream, model_of(network, stream), FinetunePlugin(), recipe)
    return lambda: engine.train_session(0)


def measured(network: Network, steps: int, *, keeps: bool) -> dict[str, float]:
    """Return milliseconds and page faults a step in this process, by the engine and a bare loop."""
    import torch

    from cl_suite.models.allocator import keep_freed_memory

    torch.set_num_threads(1)
    if keeps:
        keep_freed_memory()
    stream, recipe = session_of(network, steps)
    epochs = {"bare": bare_epoch, "engine": engine_epoch}
    found: dict[str, float] = {}
    for name, make in epochs.items():
        make(network, *session_of(network, WARM_UP))()  # the first steps allocate
        epoch = make(network, stream, recipe)
        before = spent()
        epoch()
        user, system, faults = (b - a for a, b in zip(before, spent(), strict=True))
        found |= {
            f"{name} user": 1e3 * user / steps,
            f"{name} system": 1e3 * system / steps,
            f"{name} faults": faults / steps,
            name: 1e3 * (user + system) / steps,
        }
    return found


def in_process(name: str, steps: int, *, keeps: bool) -> dict[str, float]:
    side = json.dumps({"name": name, "steps": steps, "keeps": keeps})
    command = [sys.executable, "-W", "ignore", __file__, "--side", side]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def compared(name: str, steps: int, rounds: int, notes: list[str]) -> list[Comparison]:
    all_of: dict[str, list[dict[str, float]]] = {"as it was": [], "kept": []}

    def side(which: str) -> float:
        found = in_process(name, steps, keeps=which == "kept")
        all_of[which].append(found)
        return found["engine"]

    times = in_turns({which: lambda which=which: side(which) for which in all_of}, rounds)
    for which, found in all_of.items():
        user, system, faults = (
            sorted(f[f"engine {kind}"] for f in found)[len(found) // 2]
            for kind in ("user", "system", "faults")
        )
        notes.append(
            f"{name}, {which}: {user:.1f} user + {system:.1f} system CPU ms a step, "
            f"{faults:,.0f} page faults a step"
        )
    loops = {kind: [found[kind] for found in all_of["kept"]] for kind in ("engine", "bare")}
    return [
        paired(f"{name}, memory kept", "as it was / kept", times, unit="CPU ms a step"),
        paired(
            f"{name}, a step",
            "engine / bare",
            loops,
            unit="CPU ms a step",
            bar=Bar("at most", 1.1),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = [name for name in NETWORKS if name != "tiny"]
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--side", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        side = options.side
        found = measured(NETWORKS[side["name"]], side["steps"], keeps=side["keeps"])
        sys.stdout.write(f"{json.dumps(found)}\n")
        return
    notes: list[str] = []
    found = [
        comparison
        for name in options.networks
        for comparison in compared(name, options.steps, options.rounds, notes)
    ]
    report("training_step", "Training steps: memory kept, and a bare loop", found, notes=notes)


if __name__ == "__main__":
    main()
