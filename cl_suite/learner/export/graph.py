"""Builds parts of an ONNX graph by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PREFIX = "cl_suite"  # starts our own names, which then differ from all names in the network
OPSET = 18  # the first whose Resize has `antialias`

Input = str | NDArray[Any]


class Graph:
    """Nodes in the order of their computation, and their constants.

    Attributes:
        nodes: `onnx.NodeProto`.
        initializers: `onnx.TensorProto`.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def op(self, kind: str, *inputs: Input, to: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output.

        Args:
            inputs: names, or arrays, which become constants; "" leaves an optional one out.
            to: name of the output; None for a new one.
        """
        return self._op(kind, inputs, to, attributes)

    def constant(self, value: NDArray[Any], name: str | None = None) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = name or self._name("constant")
        # (`ascontiguousarray` would make a vector of a number)
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def cast(self, value: Input, dtype: type[np.generic]) -> str:
        """Convert a tensor to another number format; return its name."""
        from onnx import helper

        code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._op("Cast", (value,), None, {"to": code})

    def _op(
        self, kind: str, inputs: Sequence[Input], to: str | None, attributes: Mapping[str, Any]
    ) -> str:
        from onnx import helper

        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        name = self._name(kind)
        output = to or name
        self.nodes.append(helper.make_node(kind, names, [output], name=name, **attributes))
        return output

    def _name(self, kind: str) -> str:
        return f"{PREFIX}/{self.part}/{kind}_{len(self.nodes)}_{len(self.initializers)}"
