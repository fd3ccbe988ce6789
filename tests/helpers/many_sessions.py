"""Runs of many small sessions of features, and what they write."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cl_suite import registry
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.runs.config import resolve
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.listener import Listener
from cl_suite.runs.run import run

ARGUMENTS = [
    *("--model.backbone", "identity", "--model.frozen", "true", "--model.bank", "false"),
    *("--training.base_epochs", "1", "--training.incremental_epochs", "1", "--device", "cpu"),
]


@dataclass
class ManySessions:
    """Sessions of one class each, of four dimensions."""

    num_sessions: int

    def build(self) -> Stream:
        generator = torch.Generator().manual_seed(0)

        def samples(each: int) -> list[TensorSamples]:
            return [
                TensorSamples(torch.randn(each, 4, generator=generator), [c] * each)
                for c in range(self.num_sessions)
            ]

        return build_stream(
            name="many_sessions",
            class_names=[f"class {c}" for c in range(self.num_sessions)],
            session_classes=[[c] for c in range(self.num_sessions)],
            train=samples(2),
            test=samples(1),
            train_transform=Identity(),
            eval_transform=Identity(),
        )


def run_many(
    out: Path,
    num_sessions: int,
    *,
    listeners: list[Listener] | None = None,
    resume: bool = False,
    strategy: str = "finetune",
) -> RunFolder:
    """Run so many sessions; return the run's folder."""
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", strategy)
    arguments: list[Any] = [*ARGUMENTS, "--out", str(out), *["--resume"] * resume]
    (config,), options = resolve(*pair, arguments)
    config = dataclasses.replace(config, scenario=ManySessions(num_sessions))
    return run(config, options, listeners or [])
