"""The classifier behind the network as ONNX nodes: scores, probabilities, familiarity, unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_suite.learner.calibration import LEAD
from cl_suite.learner.export.frozen import Frozen
from cl_suite.learner.export.graph import Graph
from cl_suite.models.heads.gaussian import GaussianHead


@dataclass(frozen=True)
class Rows:
    """Names of tensors: keys `(num_classes, width)`, offsets `(num_classes,)`, scale, threshold.

    Attributes:
        threshold: None if no picture is called unknown.
    """

    keys: str
    offsets: str
    scale: str
    threshold: str | None


INPUTS = Rows("keys", "offsets", "scale", "threshold")  # of a growing export


def constants(graph: Graph, now: Frozen) -> Rows:
    """Put the classes into the graph."""
    arrays = row_arrays(now)
    limit = now.calibration.threshold
    return Rows(
        graph.constant(arrays["keys"], "keys"),
        graph.constant(arrays["offsets"], "offsets"),
        graph.constant(arrays["scale"], "scale"),
        None if limit is None else graph.constant(arrays["threshold"], "threshold"),
    )


def row_arrays(now: Frozen) -> dict[str, NDArray[Any]]:
    """Return what `Rows` names; without a threshold nothing lies below minus infinity."""
    limit = now.calibration.threshold
    return {
        "keys": now.table.keys.float().numpy(),
        "offsets": now.table.offsets.float().numpy(),
        "scale": np.array(now.calibration.scale, np.float32),
        "threshold": np.array(-np.inf if limit is None else limit, np.float32),
    }


def add_head(graph: Graph, now: Frozen, query: str, rows: Rows) -> list[str]:
    """Add the nodes behind the queries; return the outputs' names."""
    scores = graph.op("Gemm", query, rows.keys, rows.offsets, transB=1)
    best, second = _best_two(graph, scores)
    lead = graph.op("Mul", graph.op("Sub", best, second), np.array(LEAD, np.float32))
    best = graph.op("Add", best, lead)
    if isinstance(now.rule.head, GaussianHead):
        length = graph.op("ReduceSumSquare", query, np.array([1]), keepdims=0)
        best = graph.op("Sub", best, graph.op("Div", length, np.array(2, np.float32)))
    graph.op("Identity", best, to="familiarity")
    graph.op("Softmax", graph.op("Mul", scores, rows.scale), axis=1, to="probabilities")
    if rows.threshold is None:
        return ["probabilities", "familiarity"]
    graph.op("Less", "familiarity", rows.threshold, to="unknown")
    return ["probabilities", "familiarity", "unknown"]


def _best_two(graph: Graph, scores: str) -> tuple[str, str]:
    """Return the two largest scores of each picture `(n,)`, twice the same of a single class."""
    num = graph.op("Shape", scores, start=1, end=2)
    found = graph.op("TopK", scores, graph.op("Min", num, np.array([2])), axis=1)
    graph.nodes[-1].output.append(f"{found}_columns")  # which nobody reads
    axis = np.array([1])
    return (
        graph.op("ReduceMax", found, axis, keepdims=0),
        graph.op("ReduceMin", found, axis, keepdims=0),
    )
