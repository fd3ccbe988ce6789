"""Two processes compute what one computes, each its share of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import shared_work
from helpers.pixel_files import write_pictures

from cl_suite.storage import checkpoint
from cl_suite.testing.several import in_processes


def results(function: Callable[..., None], folder: Path, size: int, *arguments: Any) -> Any:
    file = folder / f"{size}.safetensors"
    in_processes(function, size, file, *arguments)
    return checkpoint.load(file)


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tmp_path_factory.mktemp("passes")
    one, two = (results(shared_work.pass_through_networks, folder, size) for size in (1, 2))
    return one, two


@pytest.mark.parametrize("name", shared_work.NETWORKS)
def test_values_gradients_and_statistics_are_those_of_one_process(
    passes: tuple[Any, Any], name: str
) -> None:
    one, two = (found[name] for found in passes)
    torch.testing.assert_close(
        *({k: v for k, v in each.items() if k in ("state", "drawn")} for each in (one, two))
    )
    for num in ("8", "7", "3", "1"):
        for what in ("features", "gradients", "input"):
            torch.testing.assert_close(one[num][what], two[num][what], rtol=1e-6, atol=1e-8)


WHOLE = ("draws by itself", "uneven")


@pytest.mark.parametrize("name", [n for n in shared_work.NETWORKS if n not in WHOLE])
def test_each_process_computes_its_share_of_the_rows(passes: tuple[Any, Any], name: str) -> None:
    one, two = (found[name] for found in passes)
    assert [one[num]["rows"] for num in ("8", "7", "3", "1")] == [8, 7, 3, 1]
    # a batch with fewer than two rows a process is computed whole
    assert [two[num]["rows"] for num in ("8", "7", "3", "1")] == [4, 3, 3, 1]


def test_a_network_that_draws_by_itself_is_tried_once_and_then_computed_whole(
    passes: tuple[Any, Any],
) -> None:
    assert passes[1]["draws by itself"]["8"]["rows"] == 4 + 8
    assert passes[1]["draws by itself"]["7"]["rows"] == 7


def test_a_network_that_seems_to_draw_apart_to_one_process_is_whole_in_both(
    passes: tuple[Any, Any],
) -> None:
    # of 7 rows, three are as many as the rows of the weight that is dropped out
    assert passes[1]["uneven"]["8"]["rows"] == 4 + 8
    assert passes[1]["uneven"]["7"]["rows"] == 7


def test_second_derivatives_are_those_of_one_process(tmp_path: Path) -> None:
    one, two = (results(shared_work.differentiate_twice, tmp_path, size) for size in (1, 2))
    torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


def test_processes_that_stand_at_different_places_are_noticed(tmp_path: Path) -> None:
    found = results(shared_work.stand_apart, tmp_path, 2)
    assert (found["same"], found["other"]) == (True, False)


def test_without_synchronised_batchnorm_statistics_are_averaged(tmp_path: Path) -> None:
    found = [
        results(shared_work.pass_through_networks, tmp_path, size, False)["conv4"]
        for size in (1, 2)
    ]
    one, two = (each["state"] for each in found)
    means = [name for name in one if name.endswith("running_mean")]
    assert means
    assert not torch.allclose(found[0]["8"]["features"], found[1]["8"]["features"])
    first = means[0]  # of the first layer, whose input is the same
    assert not one[first].equal(torch.zeros_like(one[first]))
    assert torch.allclose(one[first], two[first], atol=0.05)


def test_files_are_opened_once_and_batches_are_those_of_one_process(tmp_path: Path) -> None:
    write_pictures(tmp_path, 11)
    one, two = (results(shared_work.load_files, tmp_path, size, tmp_path) for size in (1, 2))
    assert len(one["batches"]) == 6
    torch.testing.assert_close(one["batches"], two["batches"], rtol=0, atol=0)
    torch.testing.assert_close(one["drawn"], two["drawn"], rtol=0, atol=0)
    assert two["opened"][0] + two["opened"][1] == one["opened"][0]
    assert abs(two["opened"][0] - two["opened"][1]) <= one["opened"][0] / 11


def test_batches_that_kept_files_join_are_those_of_one_process(tmp_path: Path) -> None:
    write_pictures(tmp_path, 11)
    one, two = (results(shared_work.load_files, tmp_path, size, tmp_path, 5) for size in (1, 2))
    # six files in batches of four and of two, each joined by three
    assert [len(batch[0]) for batch in one["batches"]] == [7, 5, 7, 5]
    torch.testing.assert_close(one["batches"], two["batches"], rtol=0, atol=0)
    torch.testing.assert_close(one["drawn"], two["drawn"], rtol=0, atol=0)
    assert two["opened"][0] + two["opened"][1] == one["opened"][0]


def test_batches_in_turn_come_in_order(tmp_path: Path) -> None:
    one, three = (results(shared_work.take_turns, tmp_path, size) for size in (1, 3))
    for num in one:
        expected = 10.0 * torch.arange(int(num))[:, None]
        assert one[num]["results"].equal(expected)
        assert three[num]["results"].equal(expected)
        assert one[num]["own"] == int(num)
    # process 0 has batches 0 and 3 of 11 items; fewer batches than processes are not shared
    assert three["11"]["own"] == 4
    assert three["3"]["own"] == 3


def test_the_first_process_decides_and_one_process_speaks(tmp_path: Path) -> None:
    found = results(shared_work.agree, tmp_path, 2)
    assert found["value"] == [0, "x", None]
    assert found["error"] == "the folder is occupied; choose another"
    assert found["alone"] == 1
    assert found["sum"].item() == 3
    assert found["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]
    # process 0 ended only because of process 1, which tells the reason
    assert found["speaks"] == [0, 1]


def test_a_killed_process_is_noticed_by_the_other(tmp_path: Path) -> None:
    file = tmp_path / "told.txt"
    with pytest.raises(AssertionError, match=r"exit codes \[0, -9\]"):
        in_processes(shared_work.lose_a_peer, 2, file)
    assert "another process of this run has ended" in file.read_text()


def test_the_bank_is_computed_in_shares_to_the_same_bits(tmp_path: Path) -> None:
    one, two = (
        results(shared_work.fill_bank, tmp_path, size, tmp_path / f"bank{size}") for size in (1, 2)
    )
    torch.testing.assert_close(one["features"], two["features"], rtol=0, atol=0)
    # the last batch is filled up to the full length
    assert max(two["computed"]) <= (one["computed"][0] + 8) / 2
    entries = [sorted(p.name for p in (tmp_path / f"bank{size}").glob("*-*")) for size in (1, 2)]
    assert entries[0] == entries[1]
