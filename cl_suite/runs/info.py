"""The contents of run.json: versions, machine, stream and model size."""

from __future__ import annotations

import platform
import resource
import sys
import time
from importlib import metadata
from typing import Any

import torch

from cl_suite.data.stream import Stream
from cl_suite.models.classifier import Classifier


def run_info(stream: Stream, model: Classifier) -> dict[str, Any]:
    """Return the contents of run.json before the first session."""
    names = ("cl-suite", "torch", "torchvision", "avalanche-lib", "timm", "peft", "numpy")
    trained, total = model.num_parameters()
    return {
        "finished": False,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "stream": {
            "fingerprint": stream.info.fingerprint,
            "session_classes": [list(classes) for classes in stream.info.session_classes],
            "shots": stream.info.shots,
            "way": stream.info.way,
            "notes": list(stream.info.notes),
        },
        "backbone_parameters": total,
        "backbone_trainable_parameters": trained,
        "backbone_weights": model.backbone.weights,
    }


def parameters_line(model: Classifier) -> str:
    """Return a sentence on how much of the backbone is trained."""
    trained, total = model.num_parameters()
    share = f", {100 * trained / total:.3g} %" if total else ""
    return f"backbone: {trained:,} of {total:,} parameters are trained{share}"


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
