"""Time of a whole run on a frozen backbone, against its one unavoidable part, the forward pass.

Three timings in one process, interleaved over the rounds:
    1. forward: the network's forward pass over each distinct image, prepared and in memory, with
       the batch size and memory order that the bank uses;
    2. cold: `cl-suite run mini_imagenet STRATEGY` with an empty bank (reading, decoding, resizing,
       the bank, nine sessions, evaluation, dashboard and checkpoints; imports excluded);
    3. warm: the same run with the bank filled.

    python benchmarks/frozen_run.py --root ~/data/miniimagenet --weights lite0.safetensors
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from in_memory import inputs_of
from speed_file import paired, write
from timing import seconds
from torch import Tensor

from cl_suite.cli import main as cl_suite
from cl_suite.features.compute import default_batch_size
from cl_suite.models.backbones import create_backbone
from cl_suite.models.modes import evaluating
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.scenarios import FSCIL


def prepared_images(root: str, name: str) -> Tensor:
    """Return every distinct image of the stream, prepared for the network."""
    preprocessing = backbone_preprocessing(name)
    assert preprocessing is not None
    stream = with_preprocessing(FSCIL(dataset="mini_imagenet", root=root).build(), preprocessing)
    raw = torch.cat([inputs_of(s) for s in (*stream.train, *stream.test)])
    distinct = torch.unique(raw, dim=0)
    return torch.cat([stream.info.eval_transform(part) for part in distinct.split(256)])


def forward_pass(images: Tensor, name: str, weights: str | None) -> Callable[[], None]:
    """Return a function that only runs the forward pass over all images."""
    backbone = create_backbone(name, tuple(images.shape[1:]), weights=weights, frozen=True)
    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stubs lack it
    size = default_batch_size(torch.device("cpu"), tuple(images.shape[1:]))
    parts = [
        part.contiguous(memory_format=torch.channels_last)
        for part in images.contiguous().split(size)
    ]

    def run() -> None:
        with evaluating(backbone), torch.inference_mode():
            for part in parts:
                backbone(part)

    return run


def whole_run(strategy: str, options: argparse.Namespace, out: Path) -> Callable[[], None]:
    """Return a function that does one run of the command line."""
    command = ["run", "mini_imagenet", strategy, "--scenario.root", options.root]
    command += ["--model.backbone", options.backbone, "--model.frozen", "true", "--device", "cpu"]
    command += ["--training.base_epochs", "0", "--out", str(out), "--overwrite"]
    if options.weights:
        command += ["--model.weights", options.weights]

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            assert cl_suite(command) == 0

    return run


def write_file(backbone: str, rows: dict[str, list[tuple[float, float, float]]]) -> None:
    found = []
    for name, times in rows.items():
        forward, cold, warm = ([row[column] for row in times] for column in range(3))
        run = f"{name}, {backbone}"
        sides = {"forward": forward, "cold": cold, "warm": warm}
        found.append(paired(f"{run}, cold bank", "cold / forward", sides, unit="s"))
        found.append(paired(f"{run}, warm bank", "warm / cold", sides, unit="s"))
    write("frozen_run", "A whole run on a frozen network", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", required=True, help="miniImageNet")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", help="safetensors file; random weights without")
    parser.add_argument("--strategies", nargs="+", default=["prototype", "teen"])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.weights is None:
        # random weights do not define a preprocessing
        raise SystemExit("pass --weights: random ones are not prepared for as published ones are")
    images = prepared_images(options.root, options.backbone)
    limit = forward_pass(images, options.backbone, options.weights)
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in options.strategies}
    with tempfile.TemporaryDirectory() as folder:
        warm_up = whole_run(options.strategies[0], options, Path(folder) / "runs")
        os.environ["CL_SUITE_BANK"] = f"{folder}/bank"
        warm_up()  # imports, and the disk's cache
        for number in range(options.rounds):
            for name in options.strategies:
                os.environ["CL_SUITE_BANK"] = f"{folder}/bank-{number}-{name}"
                run = whole_run(name, options, Path(folder) / "runs")
                rows[name].append((seconds(limit), seconds(run), seconds(run)))
    write_file(options.backbone, rows)
    print(f"{len(images):,} distinct images, {torch.get_num_threads()} threads")  # noqa: T201
    for name, times in rows.items():
        for limit_time, cold, warm in times:
            print(  # noqa: T201
                f"{name:12} forward {limit_time:7.1f} s   cold {cold:7.1f} s   warm {warm:6.2f} s"
                f"   cold / forward {cold / limit_time:.3f}   warm / cold {100 * warm / cold:.2f} %"
            )
        median = statistics.median(cold / limit_time for limit_time, cold, _ in times)
        share = statistics.median(warm / cold for _, cold, warm in times)
        print(f"{name:12} median cold / forward {median:.3f}, warm / cold {100 * share:.2f} %")  # noqa: T201


if __name__ == "__main__":
    main()
