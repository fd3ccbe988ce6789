"""The path searches by name: PICLE and the baselines of the literature."""

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
    """Return a search for a path that solves `problem`; each starts with only new modules."""
    return PathSearch(PLANS[name](problem))


def picle(problem: Problem) -> Plan:
    """Search prefixes by likelihood, then suffixes with a Gaussian process."""
    standalone = yield problem.all_new
    yield from prefixes(problem)
    yield from suffixes(problem, standalone.loss)


def standalone(problem: Problem) -> Plan:
    """Use only new modules."""
    yield problem.all_new


def random_paths(problem: Problem) -> Plan:
    """Draw random paths: for each layer a new module or a library module that fits."""
    yield problem.all_new
    draw = random.Random(problem.seed)
    options = [[None, *problem.choices(depth)] for depth in range(problem.depth)]
    seen = {problem.all_new}
    # enough draws: if few paths exist, most are drawn many times
    for _ in range(100 * most_baseline_paths(problem)):
        path: Path = tuple(draw.choice(layer) for layer in options)
        if path not in seen:
            seen.add(path)
            yield path
        if len(seen) >= most_baseline_paths(problem):
            return


def exhaustive(problem: Problem) -> Plan:
    """Try all paths, full reuse first, up to the same number as the random search.

    This is HOUDINI's search (Valkov et al., NeurIPS 2018) for a given architecture.
    """
    options = [[*problem.choices(depth), None] for depth in range(problem.depth)]
    others = (path for path in itertools.product(*options) if path != problem.all_new)
    yield problem.all_new
    for path in itertools.islice(others, most_baseline_paths(problem) - 1):
        _ = yield path  # no `yield from`: an iterator cannot be sent outcomes


def most_baseline_paths(problem: Problem) -> int:
    """Return the maximum number of paths that random and exhaustive search train."""
    return 2 * problem.depth + len(problem.solutions)


def mntdp(problem: Problem) -> Plan:
    """Try the prefixes of the earlier solution with the best nearest-neighbour accuracy.

    MNTDP-D (Veniat et al., ICLR 2021).
    """
    yield problem.all_new
    shared = [_shared_prefix(solution, problem.layout) for solution in problem.solutions]
    shared = [prefix for prefix in shared if prefix]
    if not shared:
        return
    # the last layer's output is the prediction; its inputs are the features
    worth = [neighbour_accuracy(problem, prefix[: problem.depth - 1]) for prefix in shared]
    closest = shared[worth.index(max(worth))]
    for length in range(1, len(closest) + 1):
        yield closest[:length] + (None,) * (problem.depth - length)


def _shared_prefix(solution: tuple[str, ...], layout: tuple[str, ...]) -> tuple[str, ...]:
    pairs = zip(solution, layout, strict=False)
    fitting = itertools.takewhile(lambda pair: layer_of(pair[0]) == pair[1], pairs)
    return tuple(name for name, _ in fitting)


def neighbour_accuracy(problem: Problem, prefix: tuple[str, ...]) -> float:
    """Return the share of held-out items that their nearest training items classify correctly."""
    train, held = problem.after(prefix), problem.after(prefix, problem.held_inputs)
    votes = neighbour_votes(train.flatten(1), problem.labels, held.flatten(1))
    return float((votes == problem.held_labels).double().mean())


def neighbour_votes(train: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Return the most common label `(m,)` among each query's nearest training points."""
    near = torch.cdist(queries, train).topk(min(NEIGHBOURS, len(train)), largest=False).indices
    return labels[near].mode(dim=1).values


PLANS: dict[SearchName, Callable[[Problem], Plan]] = {
    "picle": picle,
    "random": random_paths,
    "exhaustive": exhaustive,
    "mntdp": mntdp,
    "standalone": standalone,
}
