"""The cache head and agreement fusion: all oracles of their specification."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cl_suite.models.heads.cache import CacheHead, agreed, cache_logits, standardised

KEYS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
OWNERS = torch.tensor([0, 1, 1])
QUERY = torch.tensor([[0.8, 0.6]], dtype=torch.float64)


def close(*values: float) -> object:
    return pytest.approx(values, abs=5e-7)  # the oracles have six digits


@pytest.mark.parametrize(
    ("beta", "expected"), [(1.0, (0.818731, 1.631109)), (5.5, (0.332871, 0.913322))]
)
def test_cache_logits(beta: float, expected: tuple[float, float]) -> None:
    assert cache_logits(QUERY @ KEYS.T, OWNERS, 2, beta)[0].tolist() == close(*expected)


def test_a_sharp_cache_is_the_nearest_key_and_a_flat_one_the_counts() -> None:
    exact = cache_logits(KEYS[2:] @ KEYS.T, OWNERS, 2, 1000.0)
    assert exact[0].tolist() == close(0.0, 1.0)
    assert cache_logits(QUERY @ KEYS.T, OWNERS, 2, 0.0)[0].tolist() == [1.0, 2.0]
    assert cache_logits(QUERY @ KEYS.T, OWNERS, 2, 0.0, by_count=True)[0].tolist() == [1.0, 1.0]


def test_a_class_without_keys_has_a_logit_of_zero() -> None:
    assert cache_logits(QUERY @ KEYS.T, OWNERS, 3, 1.0, by_count=True)[0, 2] == 0


MEANS = torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64)
CACHES = torch.tensor([[[1.0, 0.0, 0.5]], [[0.0, 1.0, 0.2]]], dtype=torch.float64)


def test_agreement_fusion() -> None:
    cached = standardised(CACHES)[:, 0]
    weights = (cached * standardised(MEANS)[0]).sum(1).softmax(0)
    assert weights.tolist() == close(0.979961, 0.020039)
    fused = agreed(torch.zeros_like(MEANS), CACHES, alpha=1.0)  # equal means: equal weights
    torch.testing.assert_close(fused[0], cached.mean(0))
    found = agreed(MEANS, CACHES, alpha=1.0, per_class=False) - MEANS
    assert found[0].tolist() == close(0.964813, -0.957238, -0.007574)
    final = agreed(MEANS, CACHES, alpha=0.6, per_class=False)
    assert final[0].tolist() == close(3.578888, 0.425657, 1.995456)


def test_by_class_the_weights_are_the_softmax_of_a_third_of_the_agreement() -> None:
    cached = standardised(CACHES)[:, 0]
    weights = ((cached * standardised(MEANS)[0]).sum(1) / 3).softmax(0)
    expected = MEANS[0] + 0.6 * (weights[:, None] * cached).sum(0)
    torch.testing.assert_close(agreed(MEANS, CACHES, alpha=0.6)[0], expected)


@pytest.mark.parametrize("value", [0.0, 0.1, 7e8])
@pytest.mark.parametrize("num_classes", [1, 7])
def test_equal_logits_are_zeros(value: float, num_classes: int) -> None:
    logits = torch.full((2, num_classes), value)
    assert standardised(logits).equal(torch.zeros_like(logits))


def test_a_head_scores_by_both_and_its_keys_survive_saving() -> None:
    head = CacheHead(2, 9, alpha=0.6, beta=1.0)
    head.set_rows([4, 8], torch.tensor([[1.0, 0.1], [0.3, 0.9]]))
    assert head(QUERY.float())[:, [4, 8]].equal(
        16 * F.normalize(QUERY.float()) @ F.normalize(head.weight.detach()).T
    ), "without keys it is the cosine"
    head.append(2 * KEYS.float()[None], torch.tensor([4, 8, 8]))
    cache = cache_logits(QUERY.float() @ KEYS.float().T, OWNERS, 2, 1.0, by_count=True)
    means = 16 * QUERY.float() @ F.normalize(head.weight.detach()).T
    expected = agreed(means, cache[None], alpha=0.6)
    torch.testing.assert_close(head(QUERY.float())[:, [4, 8]], expected)
    copy = CacheHead(2)
    copy.load_state_dict(head.state_dict())
    assert copy(QUERY.float()).equal(head(QUERY.float()))


def test_dropped_rows_take_their_keys_along() -> None:
    head = CacheHead(2, 3)
    head.set_rows([0, 1], torch.eye(2))
    head.append(KEYS.float()[None], OWNERS)
    head.keep_first(1)
    assert head.owners.tolist() == [0]
    assert head.samples.shape == (1, 1, 2)
