"""Turns PyTorch modules into ONNX graphs: the backbone with its head's query, and a class's row."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.learner.export.frozen import Frozen
from cl_suite.learner.export.graph import OPSET, PREFIX
from cl_suite.learner.rule import Rule
from cl_suite.models.backbones import Backbone

# names for the exporter, which no value inside a network has
PREPARED, QUERY, EMBEDDING = f"{PREFIX}_prepared", f"{PREFIX}_query", f"{PREFIX}_embedding"
LARGEST = 2**31 - 2**26  # bytes; a protocol buffer holds less than 2 GiB


class Network(nn.Module):
    """Maps prepared pictures to what keys are compared with, and to what class sums are made of.

    Args:
        half: compute the backbone in float16; what follows it stays in float32.
    """

    def __init__(self, backbone: Backbone, rule: Rule, *, half: bool) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        self.backbone = copy.deepcopy(backbone).cpu().to(self.dtype)
        self.head, self.plugin = rule.head, rule.plugin

    def forward(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and embeddings, `(batch, width)` both, of `(batch, ...)`."""
        features = self.backbone(prepared.to(self.dtype)).float()
        query = self.head.query(self.head.transformed(features))
        return query, self.plugin.averaged(self.head, features).float()


class Row(nn.Module):
    """Maps the embeddings of a new class's pictures to its key and offset, by the learner's rule.

    A rule that pools second moments keeps those of the export.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = copy.deepcopy(rule)
        self.head = self.rule.head
        base = self.head.rows(self.rule.plugin.base_classes_)
        # a graph cannot look rows up by class id, and those of the base classes do not change
        self.head.rows = lambda class_ids: base  # type: ignore[method-assign]  # of a copy

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the key `(1, width)` and the offset `(1,)` of embeddings `(n, width)`."""
        exact = embeddings.double()
        count = torch.ones_like(exact[:, :1]).sum(0)
        vectors = self.rule.new_vectors(exact.sum(0, keepdim=True), count)
        key, offset = self.rule.keys(vectors, is_base=False)
        return key.float(), offset.float()


def network_graph(now: Frozen, *, half: bool) -> Any:
    """Return the ONNX model with input `PREPARED` and outputs `QUERY`, `EMBEDDING`.

    Raises:
        UserError: if the backbone is too large, or has a part that ONNX cannot express.
    """
    spec = now.extractor.spec
    network = Network(now.extractor.backbone, now.rule, half=half).eval()
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if size > LARGEST:
        remedy = "choose a smaller backbone" if half else "export it with half=True"
        raise UserError(
            f"backbone '{spec.name}' has {size / 2**30:.1f} GiB of weights, and an ONNX file holds "
            f"less than 2; {remedy}"
        )
    try:
        # a batch of one would be taken for a constant
        example = torch.zeros(2, *spec.input_shape)
        return _exported(network, example, PREPARED, [QUERY, EMBEDDING])
    except Exception as error:
        # the exporter raises many kinds of errors; all mean that some operation has no ONNX form
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"backbone '{spec.name}' has a part that ONNX cannot express ({reason:.200}); use a "
            "classifier with another backbone"
        ) from error


def row_graph(now: Frozen) -> Any:
    """Return the ONNX model with input `embeddings` and outputs `key`, `offset`."""
    example = torch.ones(2, now.rule.width)
    return _exported(Row(now.rule).eval(), example, "embeddings", ["key", "offset"])


def _exported(module: nn.Module, example: Tensor, name: str, outputs: Sequence[str]) -> Any:
    log = logging.getLogger("torch.onnx")
    level = log.level
    try:
        # its notes are for those who write networks
        log.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    assert program is not None
    return _without_traces(program.model_proto)


def _without_traces(model: Any) -> Any:
    """Remove what the exporter notes of its machine: source paths and lines."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    return model
