"""Speed of building the feature bank, and of training on it, on this computer's processor.

Two comparisons in one process, with the sides interleaved:
    1. building: images per second of the bank (images in memory -> features on disk, checked and
       read back) against a plain loop over the same timm model, batch 64 in contiguous order;
    2. training: a linear head on cached features, with batches from
       `cl_suite.avalanche.loader.batches`, against a bare loop that slices two tensors.

    python benchmarks/feature_bank.py [--model tf_efficientnet_lite0] [--images 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import timm
import torch
from in_memory import inputs_of
from speed_file import Bar, Comparison, paired, write
from timing import seconds, summary
from torch import Tensor, nn

from cl_suite.avalanche import benchmark
from cl_suite.avalanche.loader import batches
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Identity, ToFloat, Transform
from cl_suite.features.bank import banked_stream

PLAIN_BATCH = 64
NUM_CLASSES = 100


def one_session(inputs: Tensor, transform: Transform) -> Stream:
    """Return a stream of one session, with labels in cyclic order and one test sample."""
    targets = [row % NUM_CLASSES for row in range(len(inputs))]
    classes = sorted(set(targets))
    return build_stream(
        name="random",
        class_names=[str(class_id) for class_id in classes],
        session_classes=[classes],
        train=[TensorSamples(inputs, targets)],
        test=[TensorSamples(inputs[:1].clone(), targets[:1])],
        train_transform=transform,
        eval_transform=transform,
    )


def building_ratio(model: nn.Module, stream: Stream) -> tuple[float, float]:
    """Return the images per second of the bank and of the plain loop."""
    images = inputs_of(stream.train[0])
    transform = stream.info.eval_transform

    def plain() -> None:
        with torch.inference_mode():
            torch.cat([model(transform(part)) for part in images.split(PLAIN_BATCH)])

    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # its stubs lack it
    plain_seconds = seconds(plain)
    with tempfile.TemporaryDirectory() as folder:
        bank_seconds = seconds(lambda: banked_stream(stream, model, folder=Path(folder)))
    return len(images) / bank_seconds, len(images) / plain_seconds


def training(batch_source: Callable[[], Iterable[list[Tensor]]], dim: int) -> Callable[[], None]:
    """Return a function that trains a linear head for one epoch."""
    head = nn.Linear(dim, NUM_CLASSES)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)

    def epoch() -> None:
        for features, labels in batch_source():
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features), labels).backward()
            optimizer.step()

    return epoch


def bare_batches(features: Tensor, labels: Tensor, size: int) -> Iterable[list[Tensor]]:
    for rows in torch.randperm(len(labels)).split(size):
        yield [features[rows], labels[rows]]


def training_ratio(stream: Stream, batch_size: int, dim: int) -> float:
    """Return the speed of training on the suite's batches, relative to the bare loop."""
    samples = stream.train[0]
    features, labels = inputs_of(samples), torch.tensor(samples.targets)
    loader = batches(benchmark(stream).train_stream[0].dataset, batch_size, shuffle=True)
    ours = training(lambda: loader, dim)
    bare = training(lambda: bare_batches(features, labels, batch_size), dim)
    return seconds(bare) / seconds(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--features", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model(options.model, num_classes=0).eval()
    images = torch.randint(0, 256, (options.images, 3, options.size, options.size)).byte()
    pictures = one_session(images, ToFloat(IMAGENET_MEAN, IMAGENET_STD))
    cached = one_session(torch.randn(options.features, options.dim), Identity())
    built, plain = [], []
    for _ in range(options.rounds):
        bank_rate, plain_rate = building_ratio(model, pictures)
        built.append(bank_rate)
        plain.append(plain_rate)
    gains = [a / b for a, b in zip(built, plain, strict=True)]
    print(f"building, images a second:   {summary(built)}")  # noqa: T201
    print(f"plain loop, images a second: {summary(plain)}")  # noqa: T201
    print(f"building / plain loop:       {summary(gains)}")  # noqa: T201
    rates = {"bank": built, "plain": plain}
    found = [paired(f"building, {options.model}", "bank / plain", rates, unit="images a second")]
    for batch_size in (64, 128, 256):
        ratios = [training_ratio(cached, batch_size, options.dim) for _ in range(options.rounds)]
        print(f"training, ours / bare, batch {batch_size:3}: {summary(ratios)}")  # noqa: T201
        name = f"an epoch over cached features, batch {batch_size}"
        found.append(Comparison(name, "ours / bare, speed", ratios, bar=Bar("at least", 0.9)))
    write("feature_bank", "Building the bank, and training on it", found)


if __name__ == "__main__":
    main()
