"""Serves a classifier file: one page and a JSON interface, for people and programs.

Needs the packages of the extra `cl-suite[serve]`; `serve` says so if they are missing.
"""

from cl_suite.learner.serve.limits import Limits
from cl_suite.learner.serve.server import serve

__all__ = ["Limits", "serve"]
