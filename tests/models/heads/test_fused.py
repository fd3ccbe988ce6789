"""The fused head: a weighted sum, which members keep, and what a saved state restores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.heads.feature_transform import FourierFeatures
from cl_suite.models.heads.fused import FusedHead
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.ridge import RidgeHead

DIM = 6
X = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0))


def fresh() -> FusedHead:
    transform = FourierFeatures(DIM, 8)
    members = {
        "means": CosineHead(DIM),
        "ridge": RidgeHead(DIM, num_projections=0),
        "fourier": GaussianHead(8, transform=transform),
    }
    return FusedHead(DIM, members=members).requires_grad_(False)


def rows(num: int, dim: int, seed: int = 1) -> Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(seed))


def learned(classes: list[int]) -> FusedHead:
    head = fresh()
    head.set_rows(classes, rows(len(classes), DIM))
    # the members met the classes in another order
    head.member("means").set_rows(classes[::-1], rows(len(classes), DIM, 2))
    ridge = head.member("ridge")
    assert isinstance(ridge, RidgeHead)
    ridge.learn(rows(20, DIM, 3), torch.tensor(classes).repeat(20)[:20])
    ridge.solve(1.0)
    head.member("fourier").set_rows(classes, rows(len(classes), 8))
    return head


def test_until_weights_are_set_it_is_the_cosine_to_its_own_rows() -> None:
    head = learned([4, 1])
    alone = CosineHead(DIM)
    alone.set_rows([4, 1], rows(2, DIM))
    torch.testing.assert_close(head(X), alone(X))


def test_scores_are_the_weighted_sum_of_the_members() -> None:
    head = learned([4, 1, 2])
    head.set_weights({"means": 0.5, "ridge": 2.0})
    expected = 0.5 * head.member("means")(X) + 2.0 * head.member("ridge")(X)
    assert head.used == {"means": 0.5, "ridge": 2.0}
    torch.testing.assert_close(head(X)[:, [1, 2, 4]], expected[:, [1, 2, 4]])
    assert bool(head(X)[:, [0, 3]].isneginf().all())


def test_a_member_without_weight_loses_its_tensors() -> None:
    head = learned([0, 1])
    head.set_weights({"means": 1.0})
    assert sum(t.numel() for t in head.member("fourier").state_dict().values()) == 0
    assert sum(t.numel() for t in head.member("ridge").state_dict().values()) == 0


@pytest.mark.parametrize("weights", [{"means": 1.0}, {"ridge": 1.0, "fourier": 0.3}, {}])
def test_a_saved_state_scores_as_before(weights: dict[str, float]) -> None:
    head = learned([0, 3, 1])
    if weights:
        head.set_weights(weights)
    again = fresh()
    again.load_state_dict(head.state_dict())
    again.requires_grad_(False)
    assert again(X).equal(head(X))
    # and it learns on
    for each in (head, again):
        each.set_rows([5], rows(1, DIM))
        for name in each.used:
            part = each.member(name)
            if isinstance(part, RidgeHead):
                part.learn(rows(2, DIM, 4), torch.tensor([5, 5]))
                part.solve(1.0)
            else:
                part.set_rows([5], rows(1, part.dim, 5))
    assert again(X).equal(head(X))


def test_keep_first_drops_the_members_rows_too() -> None:
    head = learned([0, 1, 2])
    head.keep_first(1)
    assert head.classes == [0]
    assert head.member("fourier").classes == [0]


def test_a_class_that_no_member_has_learned_never_wins() -> None:
    head = learned([0, 1])
    head.set_weights({"means": 1.0})
    head.grow([2])
    assert bool(head(X)[:, 2].isneginf().all())
