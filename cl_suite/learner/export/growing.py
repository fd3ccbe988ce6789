"""The file beside a growing export: the rows of its classes, and how a new class's row is made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_suite.learner.export.check import session
from cl_suite.learner.export.frozen import Frozen
from cl_suite.learner.export.head import row_arrays
from cl_suite.learner.export.network import row_graph


def classes_path(path: Path) -> Path:
    """Return where the rows of a growing export lie."""
    return path.with_suffix(".classes.npz")


def classes_file(now: Frozen) -> dict[str, Any]:
    """Return the arrays of the file; no one of them is an object, so nothing is pickled.

    `keys`, `offsets`, `scale`, `threshold` are inputs of the graph, and `labels` names the rows.
    `row_graph` holds the bytes of a small ONNX model: from the embeddings of a new class's pictures
    it computes the class's key and offset.
    """
    graph = row_graph(now).SerializeToString()
    return {
        **row_arrays(now),
        "labels": np.array(now.table.labels),
        "row_graph": np.frombuffer(graph, np.uint8),
    }


def packed(arrays: dict[str, Any]) -> bytes:
    """Return the bytes of an `.npz` file."""
    stored = io.BytesIO()
    np.savez(stored, **arrays)
    return stored.getvalue()


@torch.no_grad()
def row_difference(now: Frozen, arrays: dict[str, Any], pictures: Sequence[Tensor]) -> float:
    """Return the largest difference of a new class's key to the rule's, relative to its length."""
    features = now.extractor.to_learn([now.extractor.prepare(picture) for picture in pictures])
    averaged = now.rule.averaged(features)
    count = torch.tensor([len(averaged)])
    vectors = now.rule.new_vectors(averaged.sum(0, keepdim=True), count)
    key, offset = now.rule.keys(vectors, is_base=False)
    runtime = session(arrays["row_graph"].tobytes())
    found = runtime.run(["key", "offset"], {"embeddings": averaged.float().numpy()})
    differences = [abs(found[0] - key.numpy()).max(), abs(found[1] - offset.numpy()).max()]
    return float(max(differences) / max(float(key.norm()), 1e-12))
