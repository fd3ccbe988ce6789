"""The contents of run.json: versions, machine, stream and model size."""

from __future__ import annotations

import platform
import resource
import sys
import time
import uuid
from importlib import metadata
from typing import Any

import torch

from cl_suite import __version__
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.distributed.group import size
from cl_suite.models.classifier import Classifier


def run_info(stream: Stream, model: Classifier, images: StreamInfo) -> dict[str, Any]:
    """Return the contents of run.json before the first session.

    Args:
        stream: what the strategy learns from.
        images: facts about the stream before any feature bank; their fingerprint is the stream's
            identity, so runs with and without the bank compare.
    """
    names = ("torch", "torchvision", "avalanche-lib", "timm", "peft", "numpy")
    trained, total = model.num_parameters()
    return {
        "finished": False,
        "id": uuid.uuid4().hex,
        # an editable installation's metadata may be older than its code
        "versions": {"python": platform.python_version(), "cl-suite": __version__}
        | {name: metadata.version(name) for name in names},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "processes": size(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "stream": {
            "fingerprint": images.fingerprint,
            "session_classes": [list(classes) for classes in stream.info.session_classes],
            "shots": stream.info.shots,
            "way": stream.info.way,
            "notes": list(stream.info.notes),
        },
        "backbone_parameters": total,
        "backbone_trainable_parameters": trained,
        "backbone_weights": model.backbone.weights,
    }


def peak_memory() -> int:
    """Return the most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
