"""Processor time of computing features for the bank: as it was, as it is, and in bfloat16.

"As it was" leaves the C library's thresholds and the BatchNorm layers as they are. Thresholds hold
for a whole process, so each side runs in a process of its own, in turns; a figure is the median.
User and system time are read apart: page faults are system time.

    python benchmarks/cold_bank.py [--model tf_efficientnet_lite0] [--images 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping

from speed_file import Bar, paired, write

SIDES = ("as it was", "float32", "bfloat16")
BARS = {"float32": Bar("at least", 2.0), "bfloat16": Bar("at least", 3.0)}  # of Lite0
Times = Mapping[str, float]  # milliseconds an image


def measured(side: str, model: str, images: int) -> Times:
    """Return user and system time of one side, in this process."""
    import timm
    import torch

    from cl_suite.data.samples import TensorSamples
    from cl_suite.data.transforms import IMAGENET_MEAN, IMAGENET_STD, ToFloat
    from cl_suite.features import compute

    if side == "as it was":
        compute.keep_freed_memory = lambda: False
        compute.folded = lambda network, probe: network
    torch.set_num_threads(1)
    network = timm.create_model(model, num_classes=0).eval()
    size = timm.models.get_pretrained_cfg_value(model, "input_size")[-1]
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    samples = TensorSamples(pixels, [0] * images)
    device = torch.device("cpu")
    recipe = compute.Recipe(
        network,
        "none",
        "bfloat16" if side == "bfloat16" else "float32",
        device,
        compute.default_batch_size(device, (3, size, size)),
    )
    view = ToFloat(IMAGENET_MEAN, IMAGENET_STD)
    for _ in recipe.features(view, [(samples, row) for row in range(min(16, images))]):
        pass  # the first passes allocate
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in recipe.features(view, [(samples, row) for row in range(images)]):
        pass
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user": 1e3 * (after.ru_utime - before.ru_utime) / images,
        "system": 1e3 * (after.ru_stime - before.ru_stime) / images,
    }


def rounds(model: str, images: int, number: int) -> dict[str, list[Times]]:
    """Return the times of each side in each round, the sides in turns."""
    found: dict[str, list[Times]] = {side: [] for side in SIDES}
    for _ in range(number):
        for side in SIDES:
            command = [sys.executable, __file__, "--model", model, "--images", str(images)]
            answer = subprocess.run(
                [*command, "--side", side], check=True, capture_output=True, text=True
            )
            found[side].append(json.loads(answer.stdout.splitlines()[-1]))
    return found


def write_file(model: str, images: int, found: Mapping[str, list[Times]]) -> None:
    whole = {side: [t["user"] + t["system"] for t in times] for side, times in found.items()}
    name = f"{model}, {images} images"
    pairs = [
        paired(
            f"{name}, {side}",
            f"as it was / {side}",
            {"as it was": whole["as it was"], side: whole[side]},
            unit="CPU ms an image",
            bar=bar if model == "tf_efficientnet_lite0" else None,
        )
        for side, bar in BARS.items()
    ]
    sides = {kind: [t[kind] for t in found["float32"]] for kind in ("system", "user")}
    if all(sides["user"]) and any(sides["system"]):  # else the clock is too coarse for so few
        title = f"{name}, float32: system time"
        pairs.append(paired(title, "system / user", sides, bar=Bar("at most", 0.02)))
    write("cold_bank", "Computing features for the bank", pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process")
    options = parser.parse_args()
    if options.side is not None:
        sys.stdout.write(json.dumps(measured(options.side, options.model, options.images)) + "\n")
        return
    found = rounds(options.model, options.images, options.rounds)
    write_file(options.model, options.images, found)
    first = statistics.median(t["user"] + t["system"] for t in found["as it was"])
    sys.stdout.write(f"{options.model}, {options.images} images, one thread, CPU ms an image\n")
    for side, times in found.items():
        user, system = (statistics.median(t[kind] for t in times) for kind in ("user", "system"))
        whole = statistics.median(t["user"] + t["system"] for t in times)
        sys.stdout.write(
            f"{side:10} {user:6.2f} user + {system:5.2f} system   {first / whole:4.2f} x\n"
        )


if __name__ == "__main__":
    main()
