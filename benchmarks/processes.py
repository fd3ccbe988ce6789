"""Images a second of one run with one and with two processes, one thread each.

    python benchmarks/processes.py

A third measurement says what the machine allows: two runs of one process at the same time, which
exchange nothing. Two cores that share memory and caches do less than twice the work of one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from speed_file import Bar, Comparison, report

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.distributed import group
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.bank import banked_stream
from cl_suite.models.allocator import keep_freed_memory
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.finetune import FinetunePlugin
from cl_suite.testing.several import in_processes

WORKS = {  # network, input shape, batch size, whether BatchNorm is synchronised
    "conv4, 28 pixels": ("conv4", (1, 28, 28), 128, True),
    "conv4, 84 pixels": ("conv4", (3, 84, 84), 128, True),
    "ResNet-18, 32 pixels": ("resnet18", (3, 32, 32), 128, True),
    "ResNet-18, 84 pixels": ("resnet18", (3, 84, 84), 128, True),
    "ResNet-18, 84 pixels, BatchNorm by process": ("resnet18", (3, 84, 84), 128, False),
}
BANK = "bank, EfficientNet-Lite0, 224 pixels"


def stream_of(shape: tuple[int, int, int], num: int) -> Stream:
    """Return one session of `num` random images of four classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num, *shape), dtype=torch.uint8, generator=generator)
    samples = TensorSamples(images, [i % 4 for i in range(num)])
    test = samples.select(range(4))
    return build_stream(
        name="noise",
        class_names=[str(i) for i in range(4)],
        session_classes=[[0, 1, 2, 3]],
        train=[samples],
        test=[test],
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
    )


def train(file: Path, name: str, num: int) -> None:
    """Write the images a second of the second of two epochs."""
    network, shape, batch_size, sync = WORKS[name]
    _start()
    seed_everything(0)
    stream = stream_of(shape, num)
    model = build_classifier(ModelConfig(backbone=network), shape, 4)
    training = TrainingConfig(base_epochs=2, batch_size=batch_size, lr=0.01, sync_batchnorm=sync)
    records: list[EpochRecord] = []
    engine = Engine(stream, model, FinetunePlugin(), training, on_epoch=records.append)
    engine.train_session(0)
    _write(file, records[1].num_samples / records[1].seconds)


def fill_bank(file: Path, name: str, num: int, folder: Path) -> None:
    """Write the images a second of computing the features of `num` new images."""
    del name
    _start()
    import time

    stream = stream_of((3, 224, 224), num)
    seed_everything(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    group.wait_for_all()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        banked_stream(stream, network, folder=Path(group.from_first(lambda: own)))
        group.wait_for_all()
    _write(file, num / (time.perf_counter() - start))


def rate(work: Callable[..., None], size: int, *arguments: object) -> float:
    """Return what `size` processes do together."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rate.txt"
        in_processes(work, size, file, *arguments)
        return float(file.read_text())


def side_by_side(one: Callable[[], float]) -> float:
    """Return the sum of two runs of one process at the same time."""
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(one())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found)


def _start() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    group.start("cpu")


def _write(file: Path, value: float) -> None:
    if group.is_first():
        file.write_text(repr(value))
    group.wait_for_all()


def compare(
    name: str, work: Callable[..., None], rounds: int, bar: float, *arguments: object
) -> tuple[Comparison, str]:
    """Return the speed-up, and in words what the machine allows."""
    sides: dict[str, list[float]] = {"2 processes": [], "1 process": []}
    most = []
    for _ in range(rounds):
        one = partial(rate, work, 1, name, *arguments)
        sides["1 process"].append(one())
        sides["2 processes"].append(rate(work, 2, name, *arguments))
        most.append(side_by_side(one) / sides["1 process"][-1])
    ratios = [b / a for a, b in zip(sides["1 process"], sides["2 processes"], strict=True)]
    note = f"{name}: two runs side by side do {statistics.median(most):.2f} times the work of one"
    return (
        Comparison(
            name, "2 processes / 1 process", ratios, sides, "images a second", Bar("at least", bar)
        ),
        note,
    )


def main() -> None:
    """Measure, print and write the speed-ups."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=12, help="training steps an epoch")
    parser.add_argument("--images", type=int, default=1200, help="images of the bank")
    parser.add_argument("--works", nargs="+", choices=[*WORKS, BANK], default=[*WORKS, BANK])
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.works:
            if name == BANK:
                arguments = (options.images, Path(folder))
                found.append(compare(name, fill_bank, options.rounds, 1.9, *arguments))
            else:
                num = options.batches * WORKS[name][2]
                found.append(compare(name, train, options.rounds, 1.8, num))
    comparisons, notes = zip(*found, strict=True)
    report("processes", "One run on two processes", comparisons, notes=notes)


if __name__ == "__main__":
    main()
