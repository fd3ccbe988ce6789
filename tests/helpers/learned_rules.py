"""Rules that have learned Gaussian classes, and the scores of examples left out."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from cl_suite.learner.leave_one_out import LeftOut, left_out
from cl_suite.learner.records import Examples, State, grown, with_record
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table

DIM, BASE, FEW = 24, 6, 5  # width, base classes, classes of five shots
WHITENED = {"power": 0.5, "shrinkage": 0.3, "softmax_t": 8.0, "shift_weight": 0.0, "margin": 0.02}


def examples(features: Tensor) -> Examples:
    ids = tuple(hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in features)
    return Examples(features, ids, (b"",) * len(ids))


def gaussians(seed: int = 0, pictures: int = 12, shots: int = 5) -> dict[str, Tensor]:
    """Features of classes 0, 1, ...: the first `BASE` have more pictures than the others."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(BASE + FEW, DIM, generator=generator).abs()
    sizes = [pictures] * BASE + [shots] * FEW
    return {
        str(c): means[c] + 0.7 * torch.randn(size, DIM, generator=generator)
        for c, size in enumerate(sizes)
    }


def learned(
    name: str, parameters: dict[str, Any], features: dict[str, Tensor], num_base: int = BASE
) -> tuple[Rule, State, Table]:
    rule = Rule(name, parameters, DIM)
    base = list(features.values())[:num_base]
    if base:
        labels = torch.tensor([c for c, rows in enumerate(base) for _ in rows])
        rule.set_up(torch.cat(base), labels)
    state = State({})
    for place, (label, rows) in enumerate(features.items()):
        record = grown(rule, None, examples(rows), is_base=place < num_base)
        state = with_record(rule, state, label, record)
    return rule, state, table_of(rule, state)


@torch.no_grad()
def table_of(rule: Rule, state: State) -> Table:
    table = Table(rule, torch.device("cpu"))
    table.follow(state)
    return table


def closed_form(rule: Rule, state: State, table: Table) -> LeftOut:
    found = left_out(rule, table, state)
    assert found is not None
    return found
