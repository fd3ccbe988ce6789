"""The searches by name: PICLE's, and those that the literature compares it with."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cl_suite.methods.modular.library import layer_of
from cl_suite.methods.modular.path_search import Path, PathSearch, Plan, Problem
from cl_suite.methods.modular.prefix_search import prefixes
from cl_suite.methods.modular.suffix_search import suffixes

SearchName = Literal["picle", "random", "exhaustive", "mntdp", "standalone"]
NEIGHBOURS = 5


def make_search(name: SearchName, problem: Problem) -> PathSearch:
    """Return a search for a path that solves `problem`; each begins with new modules alone."""
    return PathSearch(PLANS[name](problem))


def picle(problem: Problem) -> Plan:
    """Search prefixes by their likelihood, then suffixes by a Gaussian process."""
    standalone = yield problem.all_new
    yield from prefixes(problem)
    yield from suffixes(problem, standalone.loss)


def standalone(problem: Problem) -> Plan:
    """Re-use nothing."""
    yield problem.all_new


def random_paths(problem: Problem) -> Plan:
    """Draw paths at random, each layer's module from those that fit and a new one."""
    yield problem.all_new
    draw = random.Random(problem.seed)
    options = [[None, *problem.choices(depth)] for depth in range(problem.depth)]
    seen = {problem.all_new}
    # as many draws as could be needed: where few paths exist, most are drawn again and again
    for _ in range(100 * most_baseline_paths(problem)):
        path: Path = tuple(draw.choice(layer) for layer in options)
        if path not in seen:
            seen.add(path)
            yield path
        if len(seen) >= most_baseline_paths(problem):
            return


def exhaustive(problem: Problem) -> Plan:
    """Go through all paths, full re-use first, up to the same number as the random search.

    HOUDINI's search (Valkov et al., NeurIPS 2018), where the architecture is given.
    """
    options = [[*problem.choices(depth), None] for depth in range(problem.depth)]
    others = (path for path in itertools.product(*options) if path != problem.all_new)
    yield problem.all_new
    for path in itertools.islice(others, most_baseline_paths(problem) - 1):
        _ = yield path  # no `yield from`: an iterator cannot be sent outcomes


def most_baseline_paths(problem: Problem) -> int:
    """Return the paths that random and exhaustive search train at most."""
    return 2 * problem.depth + len(problem.solutions)


def mntdp(problem: Problem) -> Plan:
    """Try the prefixes of one earlier solution: that whose features classify best by neighbours.

    MNTDP-D (Veniat et al., ICLR 2021).
    """
    yield problem.all_new
    shared = [_shared_prefix(solution, problem.layout) for solution in problem.solutions]
    shared = [prefix for prefix in shared if prefix]
    if not shared:
        return
    # the last layer's output is the prediction: features are what goes into it
    worth = [neighbour_accuracy(problem, prefix[: problem.depth - 1]) for prefix in shared]
    closest = shared[worth.index(max(worth))]
    for length in range(1, len(closest) + 1):
        yield closest[:length] + (None,) * (problem.depth - length)


def _shared_prefix(solution: tuple[str, ...], layout: tuple[str, ...]) -> tuple[str, ...]:
    pairs = zip(solution, layout, strict=False)
    fitting = itertools.takewhile(lambda pair: layer_of(pair[0]) == pair[1], pairs)
    return tuple(name for name, _ in fitting)


def neighbour_accuracy(problem: Problem, prefix: tuple[str, ...]) -> float:
    """Return the share of held-out items that their nearest training items classify rightly."""
    train, held = problem.after(prefix), problem.after(prefix, problem.held_inputs)
    votes = neighbour_votes(train.flatten(1), problem.labels, held.flatten(1))
    return float((votes == problem.held_labels).double().mean())


def neighbour_votes(train: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Return the commonest label `(m,)` among each query's nearest training points."""
    near = torch.cdist(queries, train).topk(min(NEIGHBOURS, len(train)), largest=False).indices
    return labels[near].mode(dim=1).values


PLANS: dict[SearchName, Callable[[Problem], Plan]] = {
    "picle": picle,
    "random": random_paths,
    "exhaustive": exhaustive,
    "mntdp": mntdp,
    "standalone": standalone,
}
