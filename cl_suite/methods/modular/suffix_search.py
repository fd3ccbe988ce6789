"""Latent transfer: reuse a suffix of an earlier solution, found by Bayesian optimisation.

Suffixes are near each other if they compute nearly the same function. The distance is

    d(a, b) = sqrt( mean over stored inputs z and outputs of (a(z) - b(z))^2 ).

A Gaussian process over these distances predicts the validation loss of untried suffixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cl_suite.methods.modular import gaussian_process, layers
from cl_suite.methods.modular.layers import PER_IMAGE
from cl_suite.methods.modular.library import layer_of
from cl_suite.methods.modular.path_search import Path, Plan, Problem

NUM_FIRST = 2  # suffixes tried before the process is used
LEAST_IMPROVEMENT = 1e-3  # expected improvement below which the search ends
LIST_SEED = 3  # for drawing lists from stored single images


def suffixes(problem: Problem, standalone_loss: float) -> Plan:
    """Suggest suffixes of the shortest length; then, if the best helped, longer ones of its path.

    Args:
        standalone_loss: validation loss of the path of only new modules.
    """
    tails = transferable(problem)
    if not tails:
        return
    shortest = problem.settings.shortest_suffix
    distances = _distances(problem, [tail[-shortest:] for tail in tails])
    # the path of only new modules is the last point
    losses = {len(tails): standalone_loss}
    while (choice := next_choice(distances, losses)) is not None:
        outcome = yield _path(problem, tails[choice][-shortest:])
        losses[choice] = outcome.loss
    best = min(losses, key=lambda point: losses[point])
    if best < len(tails):
        for length in range(shortest + 1, len(tails[best]) + 1):
            yield _path(problem, tails[best][-length:])


def transferable(problem: Problem) -> list[tuple[str, ...]]:
    """Return the longest suffix of each earlier solution whose types fit, if long enough.

    Of solutions with the same shortest suffix, only the first counts.
    """
    shortest = problem.settings.shortest_suffix
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for solution in problem.solutions:
        length = 0
        for name, layer in zip(reversed(solution), reversed(problem.layout), strict=False):
            if layer_of(name) != layer:
                break
            length += 1
        if length >= shortest:
            found.setdefault(solution[-shortest:], solution[-length:])
    return list(found.values())


def next_choice(distances: NDArray[np.float64], losses: Mapping[int, float]) -> int | None:
    """Return the suffix to try next; None if none is left or promises an improvement.

    Args:
        distances: `(n + 1, n + 1)`; the last point is the path of only new modules.
        losses: losses observed so far by point, including the last point.
    """
    num = len(distances) - 1
    central = np.argsort(distances[:-1].mean(axis=1), kind="stable")[:NUM_FIRST]
    if untried := [int(point) for point in central if int(point) not in losses]:
        return untried[0]
    rest = [point for point in range(num) if point not in losses]
    if not rest:
        return None
    seen = list(losses)
    targets = np.array([losses[point] for point in seen])
    known = distances[np.ix_(seen, seen)]
    process = gaussian_process.fit(known, targets)
    mean, deviation = process.predict(known, targets, distances[np.ix_(rest, seen)])
    lowest = int(gaussian_process.lower_bound(mean, deviation).argmin())
    gain = gaussian_process.expected_improvement(mean, deviation, float(targets.min()))
    return None if abs(gain[lowest]) < LEAST_IMPROVEMENT else rest[lowest]


def distance(first: Tensor, second: Tensor) -> float:
    """Return the distance of two functions from their outputs `(n, outputs)` on the same inputs."""
    return float((first.double() - second.double()).square().mean().sqrt())


def _distances(problem: Problem, keys: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    inputs = stored_inputs(problem)
    modules = [problem.bodies(key) for key in keys]
    modules.append(list(problem.standalone())[-problem.settings.shortest_suffix :])
    outputs = [_outputs(problem, each, inputs) for each in modules]
    return np.array([[distance(a, b) for b in outputs] for a in outputs])


@torch.no_grad()
def _outputs(problem: Problem, modules: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    return layers.run(problem.layout, modules, inputs, problem.depth - len(modules))


def stored_inputs(problem: Problem) -> Tensor:
    """Return the stored inputs of all modules that can begin a shortest suffix.

    If the layer acts on lists of images, lists are drawn from the stored single images.
    """
    depth = problem.depth - problem.settings.shortest_suffix
    stored = torch.cat([problem.library[name].inputs for name in problem.choices(depth)])
    if problem.layout[depth] not in PER_IMAGE:
        return stored
    images = problem.inputs.shape[1]
    generator = torch.Generator().manual_seed(LIST_SEED)
    drawn = torch.randint(len(stored), (len(stored), images), generator=generator)
    return stored[drawn.to(stored.device)]


def _path(problem: Problem, suffix: tuple[str, ...]) -> Path:
    return (None,) * (problem.depth - len(suffix)) + suffix
