"""Heads with a library of small random modules, and problems for its search."""

from __future__ import annotations

import torch

from cl_suite.methods.modular import layers
from cl_suite.methods.modular.head import ModularHead
from cl_suite.methods.modular.layers import Layout, Sizes
from cl_suite.methods.modular.path_search import Outcome, Path, PathSearch, Problem, Settings
from cl_suite.methods.modular.session import make_problem

SIZES = Sizes(images=2, channels=1, side=13, maps=2, hidden=6, code=8)
LISTS = layers.make_layout(2)


def items(seed: int, num: int = 30) -> torch.Tensor:
    """Return random pairs `(num, 2, 1, 13, 13)` about a picture that each seed has of its own."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 1, 1, 13, 13, generator=generator)
    return picture + 0.1 * torch.rand(num, 2, 1, 13, 13, generator=generator)


def new_head() -> ModularHead:
    return ModularHead(SIZES, 0, Settings())


def solve(
    head: ModularHead,
    seed: int,
    *,
    path: Path | None = None,
    accuracy: float = 0.9,
    layout: Layout = LISTS,
    num_classes: int = 2,
) -> None:
    """Close one more problem, whose new modules are random."""
    first = head.num_outputs
    head.grow(range(first, first + num_classes))
    head.open_problem(layout)
    layers.initialise(head.bench.items(), seed)
    shown = items(seed)[:, :1] if layout == layers.PERCEPTION else items(seed)
    head.close_problem(path or (None,) * len(layout), layout, shown, accuracy)


def problem(head: ModularHead, seed: int, layout: Layout = LISTS) -> Problem:
    """Return a problem on a seed's pictures, with random modules as the standalone ones."""
    data = items(seed), torch.arange(30) % 2
    found = make_problem(head, layout, data, data)
    head.open_problem(layout)
    layers.initialise(head.bench.items(), 99)
    found.standalone = lambda: head.modules_of(found.all_new, layout)
    return found


def drive(search: PathSearch, losses: dict[Path, float] | None = None) -> list[Path]:
    """Return all paths that a search suggests; those without a loss get 1."""
    found = []
    while (path := search.suggest()) is not None:
        found.append(path)
        search.observe(Outcome(path, 0.5, (losses or {}).get(path, 1.0)))
    return found
