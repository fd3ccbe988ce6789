"""Contrastive losses against those of pytorch-metric-learning and lightly: values and time.

Both sides get the same embeddings. Values and gradients must agree to rounding, or the benchmark
stops. The time is that of one forward and one backward pass, interleaved, on one thread.

    python -m benchmarks peers_losses [--batches 32 128 512] [--dim 128] [--rounds 30]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peers import installed
from speed_file import Bar, Comparison, cpu_seconds, in_turns, paired, report
from torch import Tensor

from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.info_nce import info_nce_loss
from cl_suite.losses.inputs import unit_rows
from cl_suite.losses.moco import moco_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss

Loss = Callable[[Tensor, Tensor], Tensor]
TOLERANCE = 2e-5  # of float32, relative to the largest gradient
QUEUE = 4096
# theirs lists all triples of a batch there, and takes minutes
TRIPLES = {"nt_xent, pytorch-metric-learning": 64}


@dataclass(frozen=True)
class Pair:
    """One loss in both libraries, over the same two views."""

    name: str
    ours: Loss
    theirs: Loss


def metric_learning(labels: Tensor) -> Iterator[Pair]:
    """Yield the losses that pytorch-metric-learning has too."""
    from pytorch_metric_learning import losses

    library = "pytorch-metric-learning"
    supcon = losses.SupConLoss(temperature=0.1)
    twice = labels.repeat(2)
    yield Pair(
        f"supcon, {library}",
        lambda a, b: supcon_loss(a, b, labels=labels, temperature=0.1),
        lambda a, b: supcon(torch.cat([a, b]), twice),
    )
    nt_xent = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=0.5))
    yield Pair(f"nt_xent, {library}", lambda a, b: nt_xent_loss(a, b, temperature=0.5), nt_xent)


def lightly(queue: Tensor) -> Iterator[Pair]:
    """Yield the losses that lightly has too."""
    from lightly import loss

    yield Pair(
        "nt_xent, lightly",
        lambda a, b: nt_xent_loss(a, b, temperature=0.5),
        loss.NTXentLoss(temperature=0.5),
    )
    yield Pair(
        "dcl, lightly", lambda a, b: dcl_loss(a, b, temperature=0.1), loss.DCLLoss(temperature=0.1)
    )
    yield Pair(
        "dclw, lightly",
        lambda a, b: dcl_loss(a, b, temperature=0.1, weight_sigma=0.5),
        loss.DCLWLoss(temperature=0.1, sigma=0.5),
    )
    banked = loss.NTXentLoss(temperature=0.2, memory_bank_size=tuple(queue.shape))
    banked(queue[:2], queue[:2])  # makes its bank
    banked.eval()

    def with_bank(a: Tensor, b: Tensor) -> Tensor:
        bank = banked.memory_bank.bank
        # theirs overwrites a part of its bank with the keys of each batch
        bank.copy_(queue if bank.shape == queue.shape else queue.T)
        return banked(a, b.detach())

    yield Pair(
        f"moco, queue of {len(queue)}, lightly",
        # theirs keeps unit rows in its bank, and does not scale them again
        lambda a, b: moco_loss(
            unit_rows(a), unit_rows(b), queue=queue.clone(), temperature=0.2, normalize=False
        ),
        with_bank,
    )


def plain(labels: Tensor) -> Iterator[Pair]:
    """Yield the losses that are a line of PyTorch."""

    def info_nce(a: Tensor, b: Tensor) -> Tensor:
        logits = unit_rows(a) @ unit_rows(b).T / 0.07
        return torch.nn.functional.cross_entropy(logits, torch.arange(len(a)))

    yield Pair("info_nce, plain PyTorch", lambda a, b: info_nce_loss(a, b), info_nce)


def pairs_of(labels: Tensor, queue: Tensor, notes: list[str]) -> Iterator[Pair]:
    """Yield all pairs whose library is installed; note the others."""
    yield from plain(labels)
    if installed("pytorch_metric_learning", notes):
        yield from metric_learning(labels)
    if installed("lightly", notes):
        yield from lightly(queue)


def once(loss: Loss, views: tuple[Tensor, Tensor]) -> tuple[float, Tensor]:
    """Return a loss's value and its gradient for the first view."""
    first, second = (view.clone().requires_grad_() for view in views)
    value = loss(first, second)
    value.backward()  # type: ignore[no-untyped-call]  # no types there
    assert first.grad is not None
    return value.item(), first.grad


def check_equal(pair: Pair, views: tuple[Tensor, Tensor]) -> None:
    """Stop unless both sides have one value and one gradient."""
    (ours, our_gradient), (theirs, their_gradient) = (
        once(pair.ours, views),
        once(pair.theirs, views),
    )
    off = (our_gradient - their_gradient).abs().max() / their_gradient.abs().max()
    if abs(ours - theirs) > TOLERANCE * max(1.0, abs(theirs)) or off > TOLERANCE:
        raise SystemExit(f"{pair.name}: ours {ours}, theirs {theirs}, gradients off by {off:.1e}")


def compared(pair: Pair, views: tuple[Tensor, Tensor], rounds: int) -> Comparison:
    check_equal(pair, views)

    def side(loss: Loss) -> Callable[[], float]:
        # a few at once: the clock of a process is coarser than a small loss
        return lambda: 1e3 * cpu_seconds(lambda: [once(loss, views) for _ in range(5)]) / 5

    sides: Mapping[str, Any] = {"ours": side(pair.ours), "theirs": side(pair.theirs)}
    return paired(
        f"{pair.name}, batch {len(views[0])}",
        "theirs / ours",
        in_turns(sides, rounds),
        unit="CPU ms",
        # two lines of PyTorch check nothing: no library has to beat them
        bar=None if pair.name.endswith("plain PyTorch") else Bar("at least", 1.0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draws = torch.Generator().manual_seed(0)
    queue = unit_rows(torch.randn(QUEUE, options.dim, generator=draws))
    notes: list[str] = []
    found = []
    for batch in options.batches:
        views = tuple(torch.randn(batch, options.dim, generator=draws) for _ in range(2))
        labels = torch.randint(0, max(2, batch // 8), (batch,), generator=draws)
        for pair in pairs_of(labels, queue, notes):
            if batch <= TRIPLES.get(pair.name, batch):
                found.append(compared(pair, (views[0], views[1]), options.rounds))
    slowest = min(found, key=lambda c: statistics.median(c.ratios))
    report("peers_losses", "Contrastive losses against two libraries", found, notes=notes)
    print(f"slowest against its peer: {slowest.name}")  # noqa: T201


if __name__ == "__main__":
    main()
