"""Path searches: oracles O3, O4 and O6, their suggestions, and their repeatability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.solved_problems import LISTS, drive, new_head, problem, solve

from cl_suite.methods.modular import layers
from cl_suite.methods.modular.path_search import Path
from cl_suite.methods.modular.prefix_search import likeliest, scores
from cl_suite.methods.modular.searches import PLANS, SearchName, make_search, neighbour_votes
from cl_suite.methods.modular.suffix_search import (
    distance,
    next_choice,
    stored_inputs,
    transferable,
)

ACCURACIES = [torch.tensor([a], dtype=torch.float64) for a in (0.95, 0.949, 0.90)]
LIKELIHOODS = [torch.tensor([x], dtype=torch.float64) for x in (-100.0, -101.0, -99.0)]
NEW = (None,) * 8


def suffix(number: int, length: int) -> Path:
    names = tuple(f"{number}_{layer}" for layer in LISTS[8 - length :])
    return (None,) * (8 - length) + names


def prefix(number: int, length: int) -> Path:
    return tuple(f"{number}_{layer}" for layer in LISTS[:length]) + (None,) * (8 - length)


# --- prefixes ---


def test_o3_the_prior_decides_at_a_low_temperature() -> None:
    found = scores(LIKELIHOODS, ACCURACIES, 0.001)
    assert found.tolist() == pytest.approx([-100.3133, -102.3133, -149.3133], abs=5e-5)
    assert found.argmax() == 0


def test_o3_the_likelihood_decides_at_a_high_temperature() -> None:
    assert scores(LIKELIHOODS, ACCURACIES, 1.0).argmax() == 2


def test_a_module_counts_by_its_likeliest_soft_type_and_that_ones_accuracy() -> None:
    two = torch.tensor([-100.0, -50.0], dtype=torch.float64)
    found = scores([two], [torch.tensor([0.9, 0.8], dtype=torch.float64)], 1.0)
    prior = torch.tensor([0.9, 0.8]).softmax(0)[1].log()
    assert found[0].item() == pytest.approx(-50 + prior.item())


def test_the_likeliest_first_module_is_that_of_the_same_pictures() -> None:
    head = new_head()
    for seed in (1, 2, 3):
        solve(head, seed)
    for number, seed in enumerate((1, 2, 3)):
        assert likeliest(problem(head, seed), ()) == f"{number}_conv1"


def test_among_equally_likely_modules_the_more_accurate_one_is_chosen() -> None:
    head = new_head()
    solve(head, 1, accuracy=0.8)
    solve(head, 1, accuracy=0.9)
    assert likeliest(problem(head, 1), ()) == "1_conv1"


def test_o7_a_repeated_problem_is_offered_its_own_solution_whole() -> None:
    head = new_head()
    for seed in (1, 2, 3):
        solve(head, seed)
    suggested = drive(make_search("picle", problem(head, 2)))
    assert suggested[1:9] == [prefix(1, length) for length in range(1, 9)]
    assert None not in suggested[8]  # nothing to train


# --- suffixes ---


def test_o4_the_distance_by_hand() -> None:
    a, b = torch.tensor([[1.0], [2], [3], [4]]), torch.tensor([[1.0], [2], [3], [6]])
    assert distance(a, b) == distance(b, a) == 1.0
    assert distance(a, a) == 0.0


def test_a_suffix_is_as_long_as_types_match_and_comes_once() -> None:
    head = new_head()
    solve(head, 1)
    flat = layers.make_layout(2, flat=True)
    solve(head, 2, layout=flat)
    # re-uses the last three of problem 0: the same shortest suffix
    solve(head, 3, path=suffix(0, 3))
    found = transferable(problem(head, 4))
    assert found == [
        tuple(f"0_{layer}" for layer in LISTS),
        ("1_join1", "1_join2", "1_out2"),
    ]


def test_problems_of_other_outputs_share_no_suffix() -> None:
    head = new_head()
    solve(head, 1, layout=layers.make_layout(3), num_classes=3)
    solve(head, 2, layout=layers.PERCEPTION, num_classes=8)
    assert transferable(problem(head, 3)) == []


def test_the_first_two_tries_are_the_most_central_suffixes() -> None:
    # on a line: 0, 1, 2 and 9, the last being the path of new modules
    places = np.array([0.0, 1.0, 2.0, 9.0])
    distances = np.abs(places[:, None] - places[None])
    assert next_choice(distances, {3: 1.0}) == 1  # mean distances 3, 2.5, 2.5: the first
    assert next_choice(distances, {3: 1.0, 1: 0.9}) == 2


def test_the_process_prefers_a_neighbour_of_what_was_good() -> None:
    places = np.array([0.0, 5.0, 5.2, -2.0, 5.4, 10.0])
    distances = np.abs(places[:, None] - places[None])
    losses = {5: 0.7, 1: 0.7, 2: 0.72, 0: 0.1}
    assert next_choice(distances, losses) == 3


def test_the_search_ends_where_nothing_promises_an_improvement() -> None:
    distances = 1e-3 * (1 - np.eye(6))  # all compute the same function
    assert next_choice(distances, {5: 0.5, 0: 0.5, 1: 0.5}) is None
    assert next_choice(np.zeros((2, 2)), {1: 0.5, 0: 0.4}) is None  # none left


def test_stored_inputs_are_those_of_every_module_that_can_begin_a_suffix() -> None:
    head = new_head()
    solve(head, 1)
    solve(head, 2)
    assert stored_inputs(problem(head, 3)).shape == (60, 16)  # all 30 of each: fewer than 40
    assert [len(head.entry(name).inputs) > 0 for name in head.library] == 2 * [
        layer == "join1" for layer in LISTS
    ]


def test_of_single_images_the_stored_ones_serve() -> None:
    head = new_head()
    solve(head, 1, layout=layers.PERCEPTION, num_classes=8)
    shown = problem(head, 2, layout=layers.PERCEPTION)
    assert stored_inputs(shown).shape[1:] == (1, 2, 1, 1)  # lists of one: two maps of one pixel
    assert len(drive(make_search("picle", shown))) == 1 + 5 + 1


# --- whole searches ---


def test_o6_with_an_empty_library_there_is_one_path() -> None:
    for name in PLANS:
        assert drive(make_search(name, problem(new_head(), 1))) == [NEW]


def test_o6_the_second_problem_of_eight_layers() -> None:
    head = new_head()
    solve(head, 1)
    found = drive(make_search("picle", problem(head, 2)), {suffix(0, 3): 0.5})
    prefixes = [prefix(0, length) for length in range(1, 9)]
    assert found == [NEW, *prefixes, suffix(0, 3), *(suffix(0, n) for n in range(4, 9))]


def test_longer_suffixes_are_not_tried_where_the_shortest_did_not_help() -> None:
    head = new_head()
    solve(head, 1)
    found = drive(make_search("picle", problem(head, 2)), {suffix(0, 3): 1.5})
    assert found[9:] == [suffix(0, 3)]


def test_random_and_exhaustive_search_stop_at_their_cap_and_repeat_no_path() -> None:
    head = new_head()
    for seed in (1, 2, 3):
        solve(head, seed)
    for name in ("random", "exhaustive"):
        found = drive(make_search(name, problem(head, 4)))
        assert found[0] == NEW
        assert len(found) == len(set(found)) == 2 * 8 + 3


def test_random_search_draws_by_its_seed() -> None:
    head = new_head()
    solve(head, 1)
    shown = problem(head, 2)
    shown.seed = 5
    first = drive(make_search("random", shown))
    assert drive(make_search("random", shown)) == first
    shown.seed = 6
    assert drive(make_search("random", shown)) != first


def test_mntdp_tries_the_prefixes_of_one_solution() -> None:
    head = new_head()
    for seed in (1, 2):
        solve(head, seed)
    found = drive(make_search("mntdp", problem(head, 2)))
    assert found[1:] in [[prefix(n, length) for length in range(1, 9)] for n in (0, 1)]


def test_neighbours_vote_by_hand() -> None:
    train = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    labels = torch.tensor([1, 1, 1, 0, 0, 0])
    assert neighbour_votes(train, labels, torch.tensor([[0.0], [9.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("name", list(PLANS))
def test_a_search_told_the_same_again_suggests_the_same(name: SearchName) -> None:
    head = new_head()
    for seed in (1, 2, 3):
        solve(head, seed)
    shown = problem(head, 2)
    losses = {suffix(number, 3): 0.3 + number / 10 for number in range(3)}
    assert drive(make_search(name, shown), losses) == drive(make_search(name, shown), losses)
