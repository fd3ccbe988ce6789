"""Prototypes refined by unlabelled samples: iterative adaptation, and optimal transport (OpTA).

Both move class prototypes towards unlabelled samples that probably belong to them. If these are the
samples to be classified, the method is transductive: a prediction then depends on the other test
samples, and figures do not compare with those of methods that see one sample at a time.

    softmax   p_qk = softmax_k( sharpness cos(q, c_k) ),   c_k = (n_k c0_k + sum_q p_qk q) / norm
              several passes; Ye et al., "Hybrid Consistency Training with Prototype Adaptation for
              Few-Shot Learning", arXiv 2011.10082, in our form: the unit prototype stands for its
              class's n_k samples, and centring is left to the head's own transform
    sinkhorn  T = entropic optimal transport between prototypes and samples at the cost
              |c_k - q|^2 / max;  c*_k = sum_q T_kq q / sum_q T_kq,  c_k = b c*_k + (1 - b) c_k
              Poulakakis-Daktylidis, Jamali-Rad, "BECLR: Batch Enhanced Contrastive Few-Shot
              Learning", ICLR 2024, arXiv 2402.02444

OpTA gives every class the same mass, as if there were equally many samples of each. That is true of
its episodes and of no stream: a rare class is then dragged towards the samples of a frequent one.
So the mass of a class is free here, and only its Kullback-Leibler divergence from equal shares
costs something (unbalanced transport; `relaxation`). An infinite one is the paper's.

Differences of OpTA besides: features are scaled to unit length, where the authors standardise each
one over its coordinates; one pass and the blend serve one shot too, for which they make five passes
without a blend; and a cosine classifies, where they fit a logistic regression to the prototypes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Assignment = Literal["softmax", "sinkhorn"]
ENTROPY = 0.05  # the paper's epsilon, at costs of at most 1
RELAXATION = 0.1
BLEND = 0.7  # the paper's, for more than one shot
SHARPNESS = 10.0
PASSES = 20
STEPS, ENOUGH = 1000, 1e-4  # the paper's end of the iteration


def refined(
    prototypes: Tensor,
    samples: Tensor,
    counts: Tensor,
    assignment: Assignment,
    *,
    sharpness: float = SHARPNESS,
) -> Tensor:
    """Return unit prototypes `(num_classes, dim)` after refinement with unlabelled samples.

    Args:
        prototypes: `(num_classes, dim)`, of any length, in the space in which cosines are scored.
        samples: `(n, dim)` unlabelled ones in the same space; with none, nothing changes.
        counts: `(num_classes,)` labelled samples behind each prototype; unused by sinkhorn.
        sharpness: factor on cosines before the softmax; unused by sinkhorn.
    """
    unit, others = F.normalize(prototypes), F.normalize(samples)
    if not len(samples):
        return unit
    if assignment == "softmax":
        return adapted(unit * counts.to(unit)[:, None], counts, others, sharpness=sharpness)
    return F.normalize(transported(unit, others, blend=BLEND))


def adapted(
    sums: Tensor,
    counts: Tensor,
    samples: Tensor,
    *,
    sharpness: float = SHARPNESS,
    passes: int = PASSES,
) -> Tensor:
    """Return unit prototypes `(num_classes, dim)` adapted to unlabelled samples.

    Args:
        sums: `(num_classes, dim)` sums of the labelled samples of unit length.
        counts: `(num_classes,)` numbers of these; a mean's length does not matter to a cosine.
        samples: `(n, dim)` of unit length.
        passes: assignments; 0: the labelled samples' own prototypes.
    """
    prototypes = F.normalize(sums)
    for _ in range(passes):
        shares = (sharpness * samples @ prototypes.T).softmax(dim=1)
        total = counts.to(shares) + shares.sum(0)
        prototypes = F.normalize((sums + shares.T @ samples) / total[:, None])
    return prototypes


def transported(
    prototypes: Tensor,
    samples: Tensor,
    *,
    entropy: float = ENTROPY,
    relaxation: float = RELAXATION,
    shares: Tensor | None = None,
    blend: float = 1.0,
) -> Tensor:
    """Return prototypes moved to the mean of the samples that transport assigns to them.

    Args:
        prototypes, samples: `(num_classes, dim)` and `(n, dim)`.
        entropy: epsilon; larger is softer.
        relaxation: what a class's mass costs that differs from its share; infinite: it may not.
        shares: `(num_classes,)` expected shares of the classes; equal ones by default.
        blend: share of the moved prototype in the result.
    """
    plan = transport_plan(
        normalised_cost(prototypes, samples), entropy=entropy, relaxation=relaxation, shares=shares
    )
    moved = plan @ samples / plan.sum(dim=1, keepdim=True).clamp(min=1e-30)
    return blend * moved + (1 - blend) * prototypes


def normalised_cost(prototypes: Tensor, samples: Tensor) -> Tensor:
    """Return squared distances `(num_classes, n)` over the largest of them."""
    cost = torch.cdist(prototypes, samples).square()
    return cost / cost.max().clamp(min=1e-30)


def transport_plan(
    cost: Tensor,
    *,
    entropy: float = ENTROPY,
    relaxation: float = RELAXATION,
    shares: Tensor | None = None,
    steps: int = STEPS,
    enough: float = ENOUGH,
) -> Tensor:
    """Return the entropic transport plan `(num_classes, n)` between classes and samples.

    Every sample ships `1 / n`. Sinkhorn's iteration in the logarithmic domain, with the class side
    relaxed as by Chizat et al. (arXiv 1607.05816).

    Args:
        cost: `(num_classes, n)`, at most 1.
        relaxation, shares: as in `transported`; 0: each sample goes by a softmax over the classes.
        steps, enough: the iteration ends after so many steps, or if the dual of the classes moves
            by less than `enough` in total.
    """
    num_classes, num = cost.shape
    mass = cost.new_full((num_classes,), -math.log(num_classes))
    if shares is not None:
        mass = shares.to(cost).log()
    firmness = 1.0 if math.isinf(relaxation) else relaxation / (relaxation + entropy)
    of_classes, of_samples = cost.new_zeros(num_classes), cost.new_zeros(num)
    for _ in range(steps):
        before = of_classes
        of_classes = firmness * entropy * (mass - ((of_samples - cost) / entropy).logsumexp(dim=1))
        held = (of_classes[:, None] - cost) / entropy
        of_samples = entropy * (-math.log(num) - held.logsumexp(dim=0))
        if float((of_classes - before).abs().sum()) < enough:
            break
    return ((of_classes[:, None] + of_samples - cost) / entropy).exp()
