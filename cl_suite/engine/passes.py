"""Counts the samples that go through a network's backbone, as a measure of cost without a clock."""

from __future__ import annotations

from typing import Any

from torch import nn

from cl_suite.models.backbones import Backbone


class PassCounter:
    """Counts samples in forward passes of a backbone.

    Copies of the network, such as a teacher, count too: they carry the hook. Finished features from
    the bank pass by the network, and count as nothing.

    Attributes:
        num: samples so far, those of training, of class statistics and of evaluation. If several
            processes share a run's passes, those of this one.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.num = 0

        # a function, not a method: a copied method would count into a copy of this object
        def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not (isinstance(module, Backbone) and module.is_passed_by):
                self.num += len(inputs[0])

        backbone.register_forward_pre_hook(count)
