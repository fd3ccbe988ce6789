"""Joins the parts of an export to one ONNX model: preparation, network, head, metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cl_suite
from cl_suite.learner.export.frozen import Frozen
from cl_suite.learner.export.graph import Graph
from cl_suite.learner.export.head import INPUTS, add_head, constants
from cl_suite.learner.export.network import EMBEDDING, QUERY, network_graph
from cl_suite.learner.export.network import PREPARED as NETWORK_INPUT
from cl_suite.learner.export.preparation import Inexpressible, Pixels, add_preparation

IMAGE, PREPARED = "image", "prepared"
NETWORK = "network/"  # begins the names inside the network


@dataclass(frozen=True)
class Assembled:
    """A finished ONNX model.

    Attributes:
        content: its bytes.
        input: `image` or `prepared`.
        notes: sentences that its users should know.
    """

    content: bytes
    input: str
    notes: tuple[str, ...]


def assembled(now: Frozen, *, half: bool, growing: bool) -> Assembled:
    """Return the ONNX model of a classifier.

    Args:
        half: compute the backbone in float16.
        growing: take the rows of the classes as inputs.

    Raises:
        UserError: if the backbone cannot be expressed.
    """
    from onnx import checker, compose

    front, pixels, notes = _front(now)
    # a network may have values of any name
    model = compose.add_prefix(network_graph(now, half=half), NETWORK)
    front.op("Identity", PREPARED, to=NETWORK + NETWORK_INPUT)
    tail = Graph("head")
    rows = INPUTS if growing else constants(tail, now)
    outputs = add_head(tail, now, NETWORK + QUERY, rows)
    tail.op("Identity", NETWORK + EMBEDDING, to="embedding")
    graph = model.graph
    network = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front.nodes, *network, *tail.nodes])
    graph.initializer.extend([*front.initializers, *tail.initializers])
    _declare(graph, now, pixels is not None, growing, outputs)
    _describe(model, now, pixels, half, growing, notes)
    if not growing:
        _drop_unused(graph)
    checker.check_model(model)
    return Assembled(model.SerializeToString(), PREPARED if pixels is None else IMAGE, notes)


def _front(now: Frozen) -> tuple[Graph, Pixels | None, tuple[str, ...]]:
    notes = (now.note,) if now.note else ()
    graph = Graph("prepare")
    try:
        pixels = add_preparation(graph, now.extractor.prepare, IMAGE)
    except Inexpressible as error:
        sentence = (
            f"ONNX cannot express how pictures are prepared ({error}), so the input is "
            f"'{PREPARED}': floats of shape {tuple(now.extractor.spec.input_shape)} that the "
            "caller prepares"
        )
        return Graph("prepare"), None, (*notes, sentence)
    graph.op("Identity", pixels.name, to=PREPARED)
    return graph, pixels, notes


def _declare(graph: Any, now: Frozen, has_front: bool, growing: bool, outputs: list[str]) -> None:
    from onnx import TensorProto, helper

    whole, real, truth = TensorProto.UINT8, TensorProto.FLOAT, TensorProto.BOOL
    value = helper.make_tensor_value_info
    num, width = len(now.table.labels), now.rule.width
    if has_front:
        inputs = [value(IMAGE, whole, ["batch", 3, "height", "width"])]
    else:
        inputs = [value(PREPARED, real, ["batch", *now.extractor.spec.input_shape])]
    if growing:
        inputs += [
            value("keys", real, ["num_classes", width]),
            value("offsets", real, ["num_classes"]),
            value("scale", real, []),
            value("threshold", real, []),
        ]
    shapes = {
        "probabilities": (real, ["batch", "num_classes" if growing else num]),
        "familiarity": (real, ["batch"]),
        "unknown": (truth, ["batch"]),
        "embedding": (real, ["batch", width]),
    }
    names = [*outputs, "embedding"] if growing else outputs
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(value(name, *shapes[name]) for name in names)


def _describe(
    model: Any,
    now: Frozen,
    pixels: Pixels | None,
    half: bool,
    growing: bool,
    notes: tuple[str, ...],
) -> None:
    from onnx import helper

    spec = now.extractor.spec
    words = {
        "cl_suite_version": cl_suite.__version__,
        "backbone": spec.name,
        "backbone_digest": spec.digest,
        "rule": now.rule.name,
        "rule_parameters": _json(now.rule.parameters),
        "preprocessing": _json(spec.prepare) if pixels is None else "; ".join(pixels.words),
        "input": PREPARED if pixels is None else IMAGE,
        "dtype": "float16" if half else "float32",
        "note": " ".join(notes),
    }
    if not growing:
        limit = now.calibration.threshold
        words["labels"] = _json(now.table.labels)
        words["scale"] = repr(now.calibration.scale)
        words["threshold"] = "" if limit is None else repr(limit)
    model.producer_name, model.producer_version = "cl-suite", cl_suite.__version__
    model.graph.name = "classifier"
    helper.set_model_props(model, words)


def _drop_unused(graph: Any) -> None:
    """Remove nodes that lead to no output: the embedding, unless it is the query."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    weights = [one for one in graph.initializer if one.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
