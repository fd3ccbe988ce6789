"""Typed layers: sizes of the BELL networks, how they run, and how layouts are recognised."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.solved_problems import LISTS, SIZES, items, new_head, solve
from torch import nn

from cl_suite.errors import UserError
from cl_suite.methods.modular import layers
from cl_suite.methods.modular.layers import Sizes
from cl_suite.methods.modular.session import layout_of

BELL = Sizes(images=2, channels=1, side=28)


def network(layout: layers.Layout, sizes: Sizes = SIZES) -> list[nn.Module]:
    modules = {name: layers.make_module(name, sizes) for name in layout}
    layers.initialise(modules.items(), 0)
    return list(modules.values())


def test_the_papers_network_has_the_papers_sizes() -> None:
    shapes = [tuple(module.weight.shape) for module in network(LISTS, BELL)]  # type: ignore[union-attr,operator]
    assert shapes[:2] == [(64, 1, 5, 5), (64, 64, 5, 5)]
    assert shapes[2:] == [(64, 1024), (64, 64), (8, 64), (64, 16), (64, 64), (1, 64)]
    flat = network(layers.make_layout(2, flat=True), BELL)
    assert tuple(flat[0].weight.shape) == (64, 784)  # type: ignore[union-attr,arg-type]
    assert len(flat) == 7


def test_a_network_is_what_it_says_written_out() -> None:
    modules, x = network(LISTS), items(0)
    codes = []
    for image in x.unbind(1):
        h = F.relu(modules[1](F.relu(modules[0](image)))).flatten(1)
        h = F.relu(modules[3](F.relu(modules[2](h))))
        codes.append(modules[4](h).softmax(1))
    h = F.relu(modules[6](F.relu(modules[5](torch.cat(codes, dim=1)))))
    torch.testing.assert_close(layers.run(LISTS, modules, x), modules[7](h))


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_network_can_be_run_in_two_parts(cut: int) -> None:
    modules, x = network(LISTS), items(0)
    middle = layers.run(LISTS, modules[:cut], x)
    again = layers.run(LISTS, modules[cut:], middle, cut)
    torch.testing.assert_close(again, layers.run(LISTS, modules, x))


def test_the_scores_of_two_classes_are_those_of_binary_cross_entropy() -> None:
    logits, labels = torch.tensor([[0.3], [-2.0]]), torch.tensor([1, 0])
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    found = F.nll_loss(layers.label_scores(logits, LISTS), labels)
    torch.testing.assert_close(found, expected)


def test_the_codes_of_a_single_image_are_its_prediction() -> None:
    modules, x = network(layers.PERCEPTION), items(0)[:, :1]
    outputs = layers.run(layers.PERCEPTION, modules, x)
    code = layers.run(LISTS, modules, x)
    assert outputs.shape == (30, 8)
    torch.testing.assert_close(layers.label_scores(outputs, layers.PERCEPTION).exp(), code[:, 0])


@pytest.mark.parametrize(
    ("shape", "found"),
    [((1, 28, 28), (1, 1, 28)), ((2, 28, 28), (2, 1, 28)), ((3, 32, 32), (1, 3, 32))],
)
def test_the_shape_of_an_item_follows_from_its_numbers(
    shape: tuple[int, int, int], found: tuple[int, int, int]
) -> None:
    assert layers.image_sizes(shape[0] * shape[1] * shape[2]) == found


def test_no_number_stands_for_two_shapes() -> None:
    sides = range(13, 300)
    numbers = [channels * side**2 for channels in (1, 2, 3) for side in sides]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("dim", [64, 500, 2 * 12**2])
def test_other_numbers_are_refused(dim: int) -> None:
    with pytest.raises(UserError, match=f"got {dim} values per item; choose another image size"):
        layers.image_sizes(dim)


def test_equal_seeds_give_equal_modules_whichever_are_asked_for() -> None:
    first, second = network(LISTS), network(LISTS)
    for a, b in zip(first, second, strict=True):
        assert all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
        assert not a.bias.any()  # type: ignore[union-attr,operator]


def test_a_problem_of_single_images_is_told_by_its_classes_and_blanks() -> None:
    head, pairs = new_head(), items(0)
    single = pairs.clone()
    single[:, 1] = 0
    head.grow(range(8))
    assert layout_of(head, single, flat=False) == layers.PERCEPTION
    assert layout_of(head, pairs, flat=False)[-1] == "out8"
    assert layout_of(head, single, flat=True)[0] == "flat1"
    head = new_head()
    head.grow([5, 9])
    assert layout_of(head, single, flat=False) == LISTS


def test_a_head_tells_what_its_paths_are_after_saving_and_loading() -> None:
    head = new_head()
    solve(head, 1)
    solve(head, 2, layout=layers.PERCEPTION, num_classes=8)
    reused = ("0_conv1", *(None,) * 7)
    solve(head, 3, path=reused)
    solve(head, 4, layout=layers.make_layout(2, flat=True))
    again = new_head()
    again.load_state_dict(head.state_dict())
    assert [again.solution(p) for p in range(4)] == [head.solution(p) for p in range(4)]
    assert again.solution(2)[:2] == ("0_conv1", "2_conv2")
    assert again.layout(3)[0] == "flat1"
    features = items(5).flatten(1)
    assert again(features).equal(head(features))
    assert not any(p.requires_grad for p in again.parameters())


def test_the_rows_of_a_problem_under_way_can_be_dropped() -> None:
    head = new_head()
    solve(head, 1)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    head.grow([2, 3])
    head.open_problem(LISTS)
    head.keep_first(2)
    after = head.state_dict()
    assert list(after) == list(before)
    assert all(after[k].equal(v) for k, v in before.items())
