"""Processor time from the start of `cl-suite run` to its first batch, against imports alone.

The measure is `import torch, timm, avalanche` in a process of its own, as a script of this field
begins. Each side runs in a fresh process, in turns; user and system time count. A run stops at the
first image batch that any network gets, so reading the data is part of it.

    python -m benchmarks start [--images FOLDER] [--rounds 5]

`--images` adds a run of `image_folder` over a folder of class folders, at 32 pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NoReturn

from speed_file import Bar, in_turns, paired, report

IMPORTS = "import torch, timm, avalanche"
OMNIGLOT = ("omniglot", "simple_cil", "--training.base_epochs", "0")
FOLDER = ("image_folder", "er_ace", "--scenario.image_size", "32", "--scenario.base_classes", "2")
FOLDER += ("--scenario.way", "2", "--scenario.test_fraction", "0.16")
FOLDER += ("--scenario.shots", "5")
BAR = Bar("at most", 1.3)


def spent() -> float:
    """Return this process's processor time so far, from its start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def answer_and_stop() -> NoReturn:
    modules = len(sys.modules)
    os.write(1, f"\n{json.dumps({'seconds': spent(), 'modules': modules})}\n".encode())
    os._exit(0)


def to_first_batch(arguments: Sequence[str]) -> None:
    """Run the command line in this process until a network gets images."""
    import torch

    def watch(module: Any, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].dim() == 4:
            answer_and_stop()

    torch.nn.modules.module.register_module_forward_pre_hook(watch)
    from cl_suite.cli import main

    raise SystemExit(f"no network got a batch: `cl-suite run` returned {main(['run', *arguments])}")


def in_process(arguments: Sequence[str]) -> dict[str, float]:
    """Return seconds and modules of a side, measured in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--side", json.dumps(list(arguments))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr or ran.stdout)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", help="folder of class folders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        if arguments := json.loads(options.side):
            to_first_batch(arguments)
        exec(IMPORTS)  # what the other side does, and nothing else
        answer_and_stop()
    runs = {"omniglot": OMNIGLOT}
    if options.images:
        runs["images"] = (*FOLDER, "--scenario.root", options.images)
    found, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CL_SUITE_BANK"] = f"{folder}/bank"
        for name, pair in runs.items():
            run = [*pair, "--device", "cpu", "--out", f"{folder}/runs", "--overwrite"]
            in_process([])  # compiled files and the disk's cache
            modules = {"imports": in_process([]), "run": in_process(run)}
            notes.append(
                f"{name}: {modules['run']['modules']} modules are loaded at the first batch, "
                f"{modules['imports']['modules']} by the imports"
            )
            sides = {
                "imports": lambda: in_process([])["seconds"],
                "run": lambda run=run: in_process(run)["seconds"],
            }
            times = in_turns(sides, options.rounds)
            name = f"{name}, first batch"
            found.append(paired(name, "run / imports", times, unit="CPU s", bar=BAR))
    report("start", f"Start of a run against `{IMPORTS}`", found, notes=notes)


if __name__ == "__main__":
    main()
