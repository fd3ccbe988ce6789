"""The choice of exemplars: interleaved, closest to the mean, herding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.kept_samples import data_of, values
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.methods.replay.buffer import QuotaBuffer
from cl_suite.methods.replay.selection import herding, interleave, ordered


def test_interleaving_keeps_the_proportion_in_every_part() -> None:
    items = list(interleave(range(100), range(100), (30, 10)))
    assert len(items) == 200
    for length in range(1, 120):
        num_new = sum(is_new for is_new, _ in items[:length])
        assert abs(num_new - length / 4) < 1
    for which in (False, True):
        assert [i for is_new, i in items if is_new is which] == list(range(100))
    assert list(interleave([], [1, 2], (0, 2))) == [(True, 1), (True, 2)]


def brute_force_herding(features: Tensor, limit: int) -> list[int]:
    """iCaRL's algorithm 4 as it is written, in float64."""
    x, chosen = features.double(), list[int]()
    mean = x.mean(0)
    for k in range(1, limit + 1):
        candidates = [i for i in range(len(x)) if i not in chosen]
        gaps = [(mean - (x[i] + x[chosen].sum(0)) / k).norm() for i in candidates]
        chosen.append(candidates[int(torch.stack(gaps).argmin())])
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_herding_is_the_published_algorithm_and_avalanches_order(seed: int) -> None:
    from avalanche.training.storage_policy import HerdingSelectionStrategy

    features = F.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(seed)))
    expected = brute_force_herding(features, 30)
    assert herding(features, 30).tolist() == expected
    assert herding(features, 7).tolist() == expected[:7]
    avalanches = HerdingSelectionStrategy.make_sorted_indices_from_features
    assert avalanches(None, features) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_closest_is_a_sort_by_distance_and_avalanches_order(seed: int) -> None:
    from avalanche.training.storage_policy import ClosestToCenterSelectionStrategy

    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
    distances = [(f - features.double().mean(0)).norm().item() for f in features.double()]
    expected = sorted(range(30), key=distances.__getitem__)
    assert ordered(features, "closest", 30).tolist() == expected
    avalanches = ClosestToCenterSelectionStrategy.make_sorted_indices_from_features
    assert list(avalanches(None, features)) == expected  # type: ignore[arg-type]


def test_herding_by_hand() -> None:
    # mean (0, 0.5). Nearest: row 2, at 0.4. With it row 3 gives (0, 1), at 0.5, and rows 0 and 1
    # give (+-0.5, 0.45), at 0.502. With both, row 0 and 1 are equally near, and the first is taken.
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.9], [0.0, 1.1]])
    assert herding(features, 4).tolist() == [2, 3, 0, 1]


def test_herding_looks_at_directions_not_at_lengths() -> None:
    features = torch.randn(20, 4)
    lengths = torch.rand(20, 1) + 0.5
    assert ordered(features, "herding", 8).equal(ordered(features * lengths, "herding", 8))


@pytest.mark.parametrize("selection", ["closest", "herding"])
def test_the_buffer_takes_each_class_by_its_own_features(selection: Any) -> None:
    features, labels = torch.randn(12, 3), [0, 1] * 6
    buffer = QuotaBuffer(6, selection)
    buffer.update(data_of(labels), (features, torch.tensor(labels)))
    for class_id, found in ((0, values(buffer)[:3]), (1, values(buffer)[3:])):
        rows = [i for i, label in enumerate(labels) if label == class_id]
        expected = ordered(features[rows], selection, 3).tolist()
        assert found == [rows[i] for i in expected]


def test_a_choice_by_features_needs_them() -> None:
    with pytest.raises(ValueError, match="selection 'herding' needs features"):
        QuotaBuffer(4, "herding").update(data_of([0, 1]))


def test_unknown_selections_and_class_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="selection 'nearest' is unknown; known: random, closest"):
        QuotaBuffer(4, "nearest")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="fixed_classes must be at least 1 or null, got 0"):
        QuotaBuffer(4, fixed_classes=0)
