"""How often `picle` suggests the same module with plain and with shrunk covariances.

A case is a library of modules for one layer and the inputs that a new problem sends to it. Each
module has seen inputs from a Gaussian of its own; the new inputs come from one of these, its mean
moved a little. Both kinds of covariance rank the modules by the strategy's own scores. `paper` is
what the authors' program computes, to rounding, so "same" also counts how often `shrunk` agrees
with it. `found` counts how often the module is the one whose inputs the new ones resemble.

    python benchmarks/picle_covariance.py [--points 10 20 50 150] [--cases 60]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cl_suite.methods.modular.library import Entry
from cl_suite.methods.modular.prefix_search import scores
from cl_suite.methods.modular.soft_type import Covariance, project

KINDS: tuple[Covariance, Covariance] = ("paper", "shrunk")
NEW_POINTS = 200


@dataclass(frozen=True)
class Counts:
    """Of the cases with a number of points: same choice, and right ones of each kind."""

    points: int
    same: int
    found: dict[str, int]


def gaussian(generator: torch.Generator, width: int) -> tuple[Tensor, Tensor]:
    """Return a random mean `(width,)` and factor `(width, width)` of inputs that correlate."""
    mean = 0.3 * torch.randn(width, generator=generator)
    factor = torch.randn(width, width, generator=generator) / width**0.5
    scale = torch.exp(0.5 * torch.randn(width, generator=generator))
    return mean, factor * scale


def choices(case: int, points: int, *, modules: int, width: int, dim: int) -> dict[str, int]:
    """Return the module that each kind suggests in a case; `right` is the one it should."""
    generator = torch.Generator().manual_seed(case)
    sources = [gaussian(generator, width) for _ in range(modules)]
    right = int(torch.randint(modules, (1,), generator=generator))
    mean, factor = sources[right]
    moved = mean + 0.1 * torch.randn(width, generator=generator)
    new = moved + torch.randn(NEW_POINTS, width, generator=generator) @ factor.T
    seen = [m + torch.randn(points, width, generator=generator) @ f.T for m, f in sources]
    accuracies = 0.8 + 0.1 * torch.rand(modules, generator=generator)
    found = {"right": right}
    for kind in KINDS:
        entries = []
        for number, inputs in enumerate(seen):
            entry = Entry(nn.Identity(), kind)
            entry.add_use(project(inputs, dim), float(accuracies[number]), number)
            entries.append(entry)
        ranked = scores(
            [entry.log_likelihoods(project(new, dim)) for entry in entries],
            [entry.accuracies for entry in entries],
            temperature=0.001,
        )
        found[kind] = int(ranked.argmax())
    return found


def counts(points: int, cases: int, *, modules: int, width: int, dim: int) -> Counts:
    """Return how the kinds choose over cases 0, 1, ..."""
    found = [choices(c, points, modules=modules, width=width, dim=dim) for c in range(cases)]
    return Counts(
        points,
        sum(each["paper"] == each["shrunk"] for each in found),
        {kind: sum(each[kind] == each["right"] for each in found) for kind in KINDS},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Plain and shrunk covariances of picle.")
    parser.add_argument("--points", type=int, nargs="+", default=[10, 20, 50, 150])
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--modules", type=int, default=6)
    parser.add_argument("--width", type=int, default=64, help="numbers of an input")
    parser.add_argument("--dim", type=int, default=20, help="as --strategy.soft_type_dim")
    parsed = parser.parse_args(arguments)
    heading = f"{'points':>6} {'same':>8} {'paper found':>12} {'shrunk found':>13}"
    print(f"{heading}   of the cases")  # noqa: T201
    for points in parsed.points:
        sizes = {"modules": parsed.modules, "width": parsed.width, "dim": parsed.dim}
        row = counts(points, parsed.cases, **sizes)
        found = [f"{row.found[kind]}/{parsed.cases}" for kind in KINDS]
        same = f"{row.same}/{parsed.cases}"
        print(f"{points:>6} {same:>8} {found[0]:>12} {found[1]:>13}")  # noqa: T201


if __name__ == "__main__":
    main()
