"""Turns a session's data into a problem for a path search."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.avalanche.loader import batches
from cl_suite.methods.modular import layers
from cl_suite.methods.modular.head import ModularHead
from cl_suite.methods.modular.layers import Layout
from cl_suite.methods.modular.ledger import State
from cl_suite.methods.modular.library import NamedModules
from cl_suite.methods.modular.path_search import CHUNK, Problem


def read_items(data: Any, head: ModularHead, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return items `(n, images, channels, side, side)` and labels `(n,)` counted from 0.

    Args:
        data: an Avalanche data set of the current problem.
        head: head with the classes of that problem.
    """
    parts = list(batches(data, CHUNK))
    items = torch.cat([part[0].flatten(1) for part in parts]).to(device)
    targets = torch.cat([part[1] for part in parts]).to(device)
    classes = head.rows_of(head.num_problems).to(device)
    labels = (targets[:, None] == classes).int().argmax(1)
    return head.sizes.as_images(items), labels


def layout_of(head: ModularHead, items: Tensor, *, flat: bool) -> Layout:
    """Return the layout of the current problem.

    It is a problem of single images if it has as many classes as a code has numbers, and all images
    of an item after the first are blank.
    """
    num = len(head.rows_of(head.num_problems))
    image = num == head.sizes.code and not flat and not bool(items[:, 1:].any())
    return layers.make_layout(num, flat=flat, image=image)


def make_problem(
    head: ModularHead, layout: Layout, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]
) -> Problem:
    """Return the current problem from its training and held-out items with their labels."""

    def looked_at(items: Tensor) -> Tensor:
        return items[:, :1] if layout == layers.PERCEPTION else items

    return Problem(
        layout=layout,
        library={name: head.entry(name) for name in head.library},
        solutions=[head.solution(problem) for problem in range(head.num_problems)],
        inputs=looked_at(train[0]),
        labels=train[1],
        held_inputs=looked_at(held[0]),
        held_labels=held[1],
        settings=head.settings,
    )


def bench_modules(head: ModularHead, state: State) -> list[nn.Module]:
    """Return the new modules of a ledger's state, in the order of their layers."""
    modules = NamedModules(lambda layer: layers.make_module(layer, head.sizes))
    modules.load_state_dict(state)
    return list(modules.to(head.weight.device).values())
