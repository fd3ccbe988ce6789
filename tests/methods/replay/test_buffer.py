"""The replay buffer: quotas, orders, and the reservoir."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.kept_samples import data_of, saved_and_loaded, values

from cl_suite.avalanche import api
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Identity
from cl_suite.errors import UserError
from cl_suite.methods.replay.buffer import QuotaBuffer, ReservoirBuffer, check_budget, parse_budget


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


def test_both_buffers_count_samples_and_bytes() -> None:
    reservoir, quota = ReservoirBuffer(5), QuotaBuffer(5)
    reservoir.insert(data_of([0] * 9), range(9), {"logits": torch.zeros(9, 2)})
    quota.update(data_of([0] * 9))
    assert (reservoir.num_samples, reservoir.num_bytes) == (5, 5 * (4 + 8))
    assert (quota.num_samples, quota.num_bytes) == (5, 20)
