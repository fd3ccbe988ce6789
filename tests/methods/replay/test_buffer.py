"""The replay buffer: quotas, orders, and the reservoir."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.avalanche import api
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Identity
from cl_suite.errors import UserError
from cl_suite.methods.replay.buffer import QuotaBuffer, ReservoirBuffer, check_budget, parse_budget
from cl_suite.methods.replay.selection import herding, interleave, ordered
from cl_suite.storage import checkpoint


def data_of(labels: list[int], start: float = 0.0) -> Any:
    """Samples `start, start + 1, ...`, 4 bytes each."""
    values = torch.arange(len(labels), dtype=torch.float32)[:, None] + start
    samples = TensorSamples(values, labels)
    return api.dataset(samples, Identity(), Identity(), range(len(labels)))


def values(buffer: QuotaBuffer | ReservoirBuffer) -> list[float]:
    inputs: list[float] = buffer.exemplars.batch(range(buffer.num_samples))[0][:, 0].tolist()
    return inputs


def sizes(buffer: QuotaBuffer) -> dict[int, int]:
    targets = buffer.exemplars.targets
    return {c: targets.count(c) for c in sorted(set(targets))}


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("500", 500),
        (500, 500),
        ("2MB", 2_000_000),
        ("300kB", 300_000),
        ("300 kb", 300_000),
        ("1.5GB", 1_500_000_000),
        ("1MiB", 1_048_576),
        ("800B", 800),
        ("1%", 231),  # of 23132
        ("0.5 %", 115),
        ("100%", 23132),
    ],
)
def test_budgets_are_samples_bytes_or_a_share(text: str | int, total: int) -> None:
    assert parse_budget(text).total(num_seen=23132) == total


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "2.5", "0%", "101%", "1percent", "2TB5", "many", "0.2B", "1e3", "%", True],
)
def test_anything_else_is_no_budget(text: Any) -> None:
    with pytest.raises(UserError, match=rf"buffer '{text}' is not a budget; pass a number"):
        parse_budget(text)


def test_a_fixed_number_of_classes_shares_the_budget_from_the_start() -> None:
    # coconut's memory: 500 among 18 scenarios
    buffer = QuotaBuffer(500, fixed_classes=18)
    for session in range(3):
        classes = range(6 * session, 6 * session + 6)
        buffer.update(data_of([c for c in classes for _ in range(40)]))
        assert sizes(buffer) == dict.fromkeys(range(6 * session + 6), 27)
    assert buffer.num_samples == 486


def test_930_samples_are_30_for_each_of_31_classes() -> None:
    assert parse_budget("930").quota(0, 4, fixed_classes=31) == 30
    assert parse_budget("500").quota(0, 4, fixed_classes=18) == 27


def test_without_a_fixed_number_the_classes_seen_share_it() -> None:
    buffer = QuotaBuffer(20)
    quotas = []
    for session in range(4):
        buffer.update(data_of([2 * session] * 30 + [2 * session + 1] * 30))
        quotas.append(set(sizes(buffer).values()))
    assert quotas == [{10}, {5}, {3}, {2}]


def test_a_class_with_few_samples_keeps_them_all_and_no_other_gets_its_share() -> None:
    buffer = QuotaBuffer(20)
    buffer.update(data_of([0] * 3 + [1] * 30))
    assert sizes(buffer) == {0: 3, 1: 10}


@pytest.mark.parametrize("selection", ["random", "closest", "herding"])
def test_on_shrink_the_first_samples_of_each_class_stay(selection: Any) -> None:
    buffer = QuotaBuffer(24, selection)
    data, torch_features = data_of([0] * 20 + [1] * 20), torch.randn(40, 3)
    buffer.update(data, (torch_features, torch.tensor([0] * 20 + [1] * 20)))
    before = values(buffer)
    assert buffer.exemplars.targets == [0] * 12 + [1] * 12
    buffer.update(data_of([2] * 9, start=100), (torch.randn(9, 3), torch.tensor([2] * 9)))
    after = values(buffer)
    assert after[:8] == before[:8]
    assert after[8:16] == before[12:20]
    assert all(v >= 100 for v in after[16:])


def test_random_samples_are_drawn_by_the_global_generator() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        buffer = QuotaBuffer(5)
        buffer.update(data_of([0] * 50))
        drawn.append(values(buffer))
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


def test_every_sample_is_drawn_equally_often() -> None:
    torch.manual_seed(0)
    counts = torch.zeros(6)
    for _ in range(600):
        buffer = QuotaBuffer(2)
        buffer.update(data_of([0] * 6))
        counts[[int(v) for v in values(buffer)]] += 1
    # 600 draws of 2 from 6: 200 each, standard deviation 11.5
    assert (counts - 200).abs().max() < 50


def test_a_share_grows_with_the_samples_seen() -> None:
    buffer = QuotaBuffer("10%")
    buffer.update(data_of([0] * 50 + [1] * 50))
    assert sizes(buffer) == {0: 5, 1: 5}
    buffer.update(data_of([2] * 50 + [3] * 50))
    assert sizes(buffer) == {0: 5, 1: 5, 2: 5, 3: 5}
    assert buffer.num_seen == {0: 50, 1: 50, 2: 50, 3: 50}


def test_a_byte_budget_is_shared_in_bytes() -> None:
    buffer = QuotaBuffer("50B")  # 25 a class: 6 samples of 4 bytes
    buffer.update(data_of([0] * 10 + [1] * 10))
    assert sizes(buffer) == {0: 6, 1: 6}
    assert buffer.num_bytes == 48
    buffer.update(data_of([2] * 10))
    assert sizes(buffer) == {0: 4, 1: 4, 2: 4}


def picture_data(noisy: list[bool]) -> Any:
    noise = torch.randint(0, 256, (len(noisy), 1, 24, 24)).to(torch.uint8)
    noise[[i for i, n in enumerate(noisy) if not n]] = 0
    samples = TensorSamples(noise, [0] * len(noisy))
    return api.dataset(samples, Identity(), Identity(), range(len(noisy)))


def test_of_pictures_a_byte_budget_keeps_as_many_as_fit() -> None:
    plain = picture_data([False])
    buffer = QuotaBuffer("100kB")
    buffer.update(plain)
    one = buffer.num_bytes
    buffer = QuotaBuffer(f"{3 * one + 1}B")
    buffer.update(picture_data([False] * 10))
    assert (buffer.num_samples, buffer.num_bytes) == (3, 3 * one)
    # one that is too large for the whole quota is passed over
    buffer = QuotaBuffer(f"{3 * one + 1}B")
    buffer.update(picture_data([True] * 3 + [False] * 10))
    assert buffer.num_bytes == 3 * one


def test_what_a_byte_budget_has_no_room_for_is_found_before_training() -> None:
    plain = picture_data([False])
    buffer = QuotaBuffer("100kB")
    buffer.update(plain)
    small = QuotaBuffer(f"{buffer.num_bytes}B")
    small.check(picture_data([True, True, False]))
    with pytest.raises(UserError, match=r"too few for any sample of class 0: less .* of 1 classes"):
        small.check(picture_data([True, True]))
    assert small.num_samples == 0


def test_a_budget_below_one_sample_a_class_is_refused() -> None:
    for budget, amount in (("3", "3 samples"), ("3B", "3 bytes")):
        buffer = QuotaBuffer(budget)
        message = rf"buffer {budget} is {amount}: less than one sample for each of 4 classes; pass"
        for call in (buffer.update, buffer.quota, buffer.check):
            with pytest.raises(UserError, match=message):
                call(data_of([0, 1, 2, 3] * 10))
    message = "buffer 8B is 2 bytes per class, too few for any sample of class 0: less .* 4 classes"
    for call in (QuotaBuffer("8B").update, QuotaBuffer("8B").check):
        with pytest.raises(UserError, match=message):
            call(data_of([0, 1, 2, 3]))
    assert QuotaBuffer(4).quota(data_of([0, 1, 2, 3])) == 1


def test_a_share_is_at_least_one_sample_a_class() -> None:
    buffer = QuotaBuffer("4%")  # 1.6 of 40 samples
    buffer.update(data_of([0, 1, 2, 3] * 10))
    assert buffer.exemplars.targets == [0, 1, 2, 3]


def test_the_budget_can_be_checked_before_any_training() -> None:
    sessions, sizes = [[0, 1], [2], [3, 4]], [100, 10, 10]
    check_budget("5", sessions, sizes)
    check_budget("1%", sessions, sizes)
    with pytest.raises(UserError, match=r"buffer 4 is 4 samples: less than one .* of 5 classes"):
        check_budget("4", sessions, sizes)
    with pytest.raises(UserError, match="fixed_classes is 4, but 5 classes were seen"):
        check_budget("50", sessions, sizes, fixed_classes=4)
    with pytest.raises(UserError, match="is not a budget"):
        check_budget("x", sessions, sizes)


def test_classes_that_come_again_are_kept_in_the_proportion_seen() -> None:
    buffer = QuotaBuffer(12)
    buffer.update(data_of([0] * 30))
    buffer.update(data_of([0] * 10, start=100))
    new = [v >= 100 for v in values(buffer)]
    assert (len(new), sum(new)) == (12, 3)
    assert sum(new[:4]) == 1  # in every part of the list, not at its end
    assert buffer.num_seen == {0: 40}


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


def saved_and_loaded(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    checkpoint.save(folder / "state", state)
    return checkpoint.load(folder / "state")


def test_a_restored_buffer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    first, second = QuotaBuffer(9), QuotaBuffer(9)
    first.update(data_of([0] * 20))
    second.load_state_dict(saved_and_loaded(first.state_dict(), tmp_path))
    second.bind(data_of([0]))
    assert values(second) == values(first)
    for buffer in (first, second):
        torch.manual_seed(1)
        buffer.update(data_of([1] * 20 + [0] * 7))
    assert values(second) == values(first)
    assert second.num_seen == first.num_seen


# reservoir


def test_the_first_items_fill_the_slots_in_order() -> None:
    buffer = ReservoirBuffer(3)
    buffer.insert(data_of([0, 1, 2]), range(3))
    assert values(buffer) == [0, 1, 2]
    assert buffer.exemplars.targets == [0, 1, 2]


def test_later_items_replace_the_slot_that_is_drawn() -> None:
    """Algorithm R, written out with the same draws."""
    torch.manual_seed(5)
    buffer, data = ReservoirBuffer(3), data_of([0] * 40)
    for rows in torch.arange(40).split(7):  # batches change nothing
        buffer.insert(data, rows)
    torch.manual_seed(5)
    slots = [0.0, 1.0, 2.0]
    for n in range(3, 40):
        if (r := int(torch.randint(n + 1, ()))) < 3:
            slots[r] = n
    assert values(buffer) == slots
    assert buffer.num_seen == 40


def test_the_next_item_is_kept_with_probability_3_in_n_plus_1() -> None:
    torch.manual_seed(0)
    data, last, any_slot = data_of([0] * 8), 0, torch.zeros(8)
    for _ in range(2000):
        buffer = ReservoirBuffer(3)
        buffer.insert(data, range(8))
        kept = [int(v) for v in values(buffer)]
        last += 7 in kept
        any_slot[kept] += 1
    # item n = 7: 3/8 of 2000 = 750, standard deviation 21.7; the same for every item by then
    assert abs(last - 750) < 90
    assert (any_slot - 750).abs().max() < 90


def test_extras_go_with_their_samples() -> None:
    buffer, data = ReservoirBuffer(4), data_of(list(range(30)))
    for rows in torch.arange(30).split(10):
        buffer.insert(data, rows, {"double": 2.0 * rows})
    inputs, labels, extras = buffer.draw(4)
    assert extras["double"].equal(2 * labels.float())
    assert inputs[:, 0].equal(labels.float())


def test_a_draw_is_without_replacement_and_from_the_global_generator() -> None:
    buffer = ReservoirBuffer(50)
    buffer.insert(data_of(list(range(20))), range(20))
    torch.manual_seed(2)
    labels = buffer.draw(10)[1]
    assert len(set(labels.tolist())) == 10
    torch.manual_seed(2)
    assert buffer.draw_rows(10).equal(labels)
    assert sorted(buffer.draw(99)[1].tolist()) == list(range(20))  # all there are


def test_an_empty_reservoir_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ReservoirBuffer(5).draw(2)


@pytest.mark.parametrize("budget", ["2MB", "1%"])
def test_a_reservoir_counts_samples(budget: str) -> None:
    with pytest.raises(UserError, match=f"buffer '{budget}' is not a number of samples"):
        ReservoirBuffer(budget)


def test_a_restored_reservoir_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    data = data_of(list(range(60)))
    first, second = ReservoirBuffer(5), ReservoirBuffer(5)
    first.insert(data, range(30), {"n": torch.arange(30)})
    second.load_state_dict(saved_and_loaded(first.state_dict(), tmp_path))
    for buffer in (first, second):
        torch.manual_seed(1)
        buffer.insert(data, range(30, 60), {"n": torch.arange(30, 60)})
    assert values(second) == values(first)
    assert second.num_seen == first.num_seen == 60


def test_both_buffers_count_samples_and_bytes() -> None:
    reservoir, quota = ReservoirBuffer(5), QuotaBuffer(5)
    reservoir.insert(data_of([0] * 9), range(9), {"logits": torch.zeros(9, 2)})
    quota.update(data_of([0] * 9))
    assert (reservoir.num_samples, reservoir.num_bytes) == (5, 5 * (4 + 8))
    assert (quota.num_samples, quota.num_bytes) == (5, 20)


def test_no_order_of_insertion_loses_a_slot() -> None:
    for first, second in itertools.product(range(1, 5), repeat=2):
        buffer = ReservoirBuffer(4)
        data = data_of([0] * 8)
        buffer.insert(data, range(first))
        buffer.insert(data, range(first, first + second))
        assert buffer.num_samples == min(4, first + second)
