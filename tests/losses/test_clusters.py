"""K-means by cosine: separated directions, determinism, few rows."""

from __future__ import annotations

import pytest
import torch

from cl_suite.losses.clusters import cosine_clusters


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_one_direction_are_one_cluster_whatever_their_lengths(seed: int) -> None:
    directions = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])]
    rows = directions * torch.linspace(0.1, 9, 9)[:, None] + 0.01
    found = cosine_clusters(rows, 4, generator=generator(seed)).tolist()
    assert found == [*found[:4], *found[:4], found[0]]
    assert sorted(found[:4]) == [0, 1, 2, 3]


def test_every_row_has_the_centre_of_its_cluster_nearest() -> None:
    rows = torch.randn(60, 5, generator=generator())
    unit = rows / rows.norm(dim=1, keepdim=True)
    found = cosine_clusters(rows, 6, generator=generator())
    centres = torch.stack([unit[found == k].mean(dim=0) for k in range(6)])
    assert found.equal((unit @ (centres / centres.norm(dim=1, keepdim=True)).T).argmax(dim=1))


def test_the_generator_decides() -> None:
    rows = torch.randn(50, 3, generator=generator())
    found = [cosine_clusters(rows, 5, generator=generator(seed)) for seed in (1, 1, 2)]
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_few_rows_are_a_cluster_each() -> None:
    assert cosine_clusters(torch.ones(3, 2), 5, generator=generator()).tolist() == [0, 1, 2]


def test_equal_rows_are_one_cluster() -> None:
    assert cosine_clusters(torch.ones(4, 2), 2, generator=generator()).unique().numel() == 1


def test_no_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match="num_clusters must be at least 1, got 0"):
        cosine_clusters(torch.ones(3, 2), 0, generator=generator())
