"""Writes a classifier for other runtimes as an ONNX graph, and checks it against PyTorch."""

from cl_suite.learner.export.report import Exported
from cl_suite.learner.export.write import export

__all__ = ["Exported", "export"]
