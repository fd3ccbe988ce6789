"""Perceptual transfer: reuse a prefix, extended greedily by the likeliest module.

Here `s` are a module's soft types, `a_s` the accuracies of their problems, `h` the layer's inputs:

    p(m, s) = exp(a_s / T) / sum over all soft types of the layer     (prior)
    score(m) = log p(m, s*) + sum_n log p(h_n | m, s*),   s* = argmax_s sum_n log p(h_n | m, s)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cl_suite.methods.modular import layers
from cl_suite.methods.modular.path_search import Plan, Problem
from cl_suite.methods.modular.soft_type import log_prior, project


def scores(
    log_likelihoods: Sequence[Tensor], accuracies: Sequence[Tensor], temperature: float
) -> Tensor:
    """Return the score `(modules,)` of each module: log prior plus log-likelihood.

    Args:
        log_likelihoods, accuracies: `(uses,)` of each module, one per soft type.
    """
    priors = log_prior(torch.cat(list(accuracies)), temperature)
    found, start = [], 0
    for likelihoods in log_likelihoods:
        use = int(likelihoods.argmax())
        found.append(priors[start + use] + likelihoods[use])
        start += len(likelihoods)
    return torch.stack(found)


def likeliest(problem: Problem, prefix: tuple[str, ...]) -> str | None:
    """Return the module that best extends a prefix; None if no module fits."""
    depth = len(prefix)
    names = problem.choices(depth)
    if not names:
        return None
    inputs = layers.points(problem.layout[depth], problem.after(prefix))
    points = project(inputs, problem.settings.soft_type_dim)
    entries = [problem.library[name] for name in names]
    ranked = scores(
        [entry.log_likelihoods(points) for entry in entries],
        [entry.accuracies for entry in entries],
        problem.settings.temperature,
    )
    return names[int(ranked.argmax())]


def prefixes(problem: Problem) -> Plan:
    """Suggest the likeliest prefix of each length; the other layers are new."""
    prefix: tuple[str, ...] = ()
    while len(prefix) < problem.depth and (name := likeliest(problem, prefix)) is not None:
        prefix += (name,)
        yield prefix + (None,) * (problem.depth - len(prefix))
