"""Keys of a momentum copy, and those of earlier batches that are kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cl_suite.losses.inputs import unit_rows
from cl_suite.methods.contrastive.recipe import ContrastBatch, KeyedRecipe, Pair
from cl_suite.methods.self_supervised.projected import embed, follow_modes


@torch.no_grad()
def keys_of(copy: nn.Module, network: nn.Module, first: Tensor, second: Tensor) -> Pair:
    """Return the copy's unit projections of both views, computed in the network's mode."""
    follow_modes(copy, network)
    return unit_rows(embed(copy, first)), unit_rows(embed(copy, second))


def no_memory(keys: Pair) -> dict[str, Tensor]:
    """Return the memory before the first batch: no key."""
    none = torch.zeros(0, dtype=torch.long, device=keys[0].device)
    return {"keys": keys[0][:0], "labels": none, "rows": none}


def remember(batch: ContrastBatch, recipe: KeyedRecipe, counts: Tensor) -> Mapping[str, Tensor]:
    """Return the batch's memory with its keys added, as far as the recipe keeps them.

    Args:
        counts: `(classes,)` training samples of each class.
    """
    assert batch.keys is not None, "a keyed recipe has them"
    rows = torch.zeros_like(batch.labels) if batch.rows is None else batch.rows.to(batch.labels)
    newest = {
        "keys": torch.cat(batch.keys),
        "labels": batch.labels.repeat(2),
        "rows": rows.repeat(2),
    }
    joined = {name: torch.cat([old, newest[name]]) for name, old in batch.memory.items()}
    kept = recipe.kept(joined["labels"], counts)
    return {name: values[kept] for name, values in joined.items()}
