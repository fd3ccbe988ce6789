"""The view into Avalanche's data sets agrees with item-by-item access."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
from avalanche.benchmarks.utils.transform_groups import TransformGroups
from helpers.tiny_streams import make_samples
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from cl_suite.avalanche import api, internals
from cl_suite.avalanche.loader import TensorLoader, batches
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.transforms import Identity, ToFloat, Transform

PLAIN, SCALED, SHIFTED = ToFloat(), ToFloat((0.5,), (0.5,)), ToFloat((0.1,), (0.3,))


def part(classes: list[int], train: Transform = SCALED, evaluation: Transform = PLAIN) -> Any:
    """Return four images of each of these classes as a data set of the suite's."""
    samples = make_samples(classes, 4, seed=classes[0], size=4)
    return api.dataset(samples, train, evaluation, range(len(samples)))


def nested() -> Any:
    """Return a piece of a joined piece of joined pieces, in no order, some samples twice."""
    inner = part([0, 1]).subset([7, 0, 3, 3]).concat(part([2], SHIFTED, SCALED))
    outer = inner.subset([5, 1, 0, 7, 2]).concat(part([3]).subset([2]))
    return outer.concat(inner).subset([13, 5, 5, 0, 2, 9, 4, 11])


TREES: dict[str, Callable[[], Any]] = {
    "whole": lambda: part([0, 1]),
    "subset": lambda: part([0, 1]).subset([1, 2, 5]),
    "reordered": lambda: part([0, 1]).subset([6, 0, 3, 0, 7]),
    "subset of a subset": lambda: part([0, 1]).subset([6, 0, 3, 2]).subset([3, 1, 1]),
    "joined": lambda: part([0]).concat(part([1], SHIFTED)),
    "joined with itself": lambda: (lambda data: data.concat(data))(part([0])),
    "joined, reordered": lambda: part([0]).concat(part([1], SHIFTED)).subset([7, 0, 4, 3, 4]),
    "pieces joined": lambda: part([0, 1]).subset([5, 0]).concat(part([2]).subset([3, 1])),
    "three joined": lambda: api.concatenate([part([0]), part([1], SHIFTED), part([2])]),
    "nested": nested,
    "one sample": lambda: nested().subset([3]),
}


def found(data: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and class ids of a data set as `resolve` finds them."""
    parts = internals.resolve(data)
    assert parts is not None
    inputs = [transform(samples.inputs[rows]) for samples, transform, rows in parts]
    targets = [torch.tensor(samples.targets)[rows] for samples, _, rows in parts]
    return torch.cat(inputs), torch.cat(targets)


def one_by_one(data: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and class ids of a data set as its items."""
    items = [data[i] for i in range(len(data))]
    return torch.stack([item[0] for item in items]), torch.tensor([int(item[1]) for item in items])


def check_same(data: Any) -> None:
    for mode in (data.train(), data.eval()):
        for ours, theirs in zip(found(mode), one_by_one(mode), strict=True):
            assert ours.equal(theirs)


@pytest.mark.parametrize("tree", TREES)
def test_what_is_found_equals_item_by_item_access(tree: str) -> None:
    check_same(TREES[tree]())


@pytest.mark.parametrize("seed", range(12))
def test_so_it_does_however_data_sets_are_cut_and_joined(seed: int) -> None:
    draw = random.Random(seed)
    data = part([draw.randrange(4)])
    for _ in range(6):
        if draw.random() < 0.5:
            other = part([draw.randrange(4)], *draw.sample([PLAIN, SCALED, SHIFTED], 2))
            data = data.concat(other) if draw.random() < 0.5 else other.concat(data)
        else:
            data = data.subset([draw.randrange(len(data)) for _ in range(draw.randint(1, 9))])
    check_same(data)


@pytest.mark.parametrize("tree", TREES)
def test_batches_of_slices_equal_those_of_a_data_loader(tree: str) -> None:
    data = TREES[tree]().train()
    ours = batches(data, 3)
    assert isinstance(ours, TensorLoader)
    for found_batch, expected in zip(ours, DataLoader(data, batch_size=3), strict=True):
        assert found_batch[0].equal(expected[0])
        assert found_batch[1].equal(expected[1])


def test_neighbours_of_one_leaf_and_transform_are_one_part() -> None:
    data = part([0, 1])
    assert [len(rows) for _, _, rows in internals.resolve(data) or ()] == [8]
    assert [len(rows) for _, _, rows in internals.resolve(data.subset([6, 0, 3])) or ()] == [3]
    halves = data.subset([0, 1, 2]).concat(data.subset([5, 4]))
    [(samples, transform, rows)] = internals.resolve(halves.eval()) or ()
    assert rows.tolist() == [0, 1, 2, 5, 4]
    assert transform is PLAIN
    assert samples is (internals.resolve(data) or ())[0][0]


def test_nothing_is_copied() -> None:
    samples = make_samples([0, 1], 4, seed=0, size=4)
    data = api.dataset(samples, SCALED, PLAIN, range(8)).subset([3, 1])
    [(leaf, _, _)] = internals.resolve(data) or ()
    assert leaf is samples


# --- what is not sliced from tensors ---


def own_groups(data: Any) -> Any:
    groups: Any = {"train": (lambda x: x.float(), None), "eval": (lambda x: x.float(), None)}
    return as_classification_dataset(data, transform_groups=TransformGroups(groups))


class WithTargets(TensorDataset):
    """Tensors of somebody else's."""

    targets = (0, 1, 2)


def foreign() -> Any:
    return as_classification_dataset(WithTargets(torch.rand(3, 1, 4, 4), torch.arange(3)))


def files(folder: Path) -> Any:
    paths = [folder / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.new("L", (4, 4)).save(path)
    return api.dataset(FileSamples(paths, [0, 1, 2], folder), PLAIN, PLAIN, range(3))


def test_samples_in_files_are_not(tmp_path: Path) -> None:
    assert internals.resolve(files(tmp_path)) is None
    assert internals.resolve(part([0]).concat(files(tmp_path))) is None


def test_data_of_somebody_elses_is_not() -> None:
    assert internals.resolve(foreign()) is None
    assert internals.resolve(AvalancheDataset([part([0]), foreign()])) is None
    assert internals.resolve([1, 2]) is None  # type: ignore[arg-type]


def test_our_samples_under_transforms_of_somebody_elses_are_not() -> None:
    assert internals.resolve(own_groups(make_samples([0], 4, seed=0))) is None
    assert internals.resolve(part([0]).freeze_transforms()) is None


@pytest.mark.parametrize("tree", TREES)
def test_a_transform_that_was_replaced_acts_no_more(tree: str) -> None:
    data = TREES[tree]().train()
    before = one_by_one(data)[0]
    for changed in (
        data.replace_current_transform_group(Identity()),
        data.remove_current_transform_group(),
    ):
        assert internals.resolve(changed) is None
        assert internals.raw_rows(changed, [0]) is None
        items = one_by_one(changed)[0]
        assert items.dtype == torch.uint8
        assert torch.cat([batch[0] for batch in batches(changed, 3)]).equal(items)
    # the other group, and the original, go on as before
    assert internals.resolve(data.remove_current_transform_group().eval()) is not None
    assert found(data)[0].equal(before)


@pytest.mark.parametrize("tree", ["whole", "joined"])
def test_data_whose_evaluation_was_replaced_gets_no_other_training_transform(tree: str) -> None:
    replaced = TREES[tree]().eval().replace_current_transform_group(PLAIN)
    with pytest.raises(ValueError, match="its transforms are unknown"):
        internals.with_train_transform(replaced, SHIFTED)


class OneByOne:
    """A transform that does not take whole batches."""

    batched = False

    def __call__(self, x: Tensor) -> Tensor:
        return x.float()


def test_a_transform_that_takes_no_batches_is_not() -> None:
    data = part([0], OneByOne(), PLAIN)
    assert internals.resolve(data.train()) is None
    assert internals.resolve(data.eval()) is not None


def test_an_empty_data_set_has_no_part() -> None:
    assert internals.resolve(part([0]).subset([])) == []


# --- samples before any transform ---


@pytest.mark.parametrize("tree", ["whole", "reordered", "pieces joined", "one sample"])
def test_raw_rows_are_those_that_items_come_from(tree: str) -> None:
    data = TREES[tree]()
    wanted = [len(data) - 1, 0, len(data) - 1]
    result = internals.raw_rows(data, wanted)
    assert result is not None
    places, (train, evaluation) = result
    assert len(places) == 3
    for row, (samples, place) in zip(wanted, places, strict=True):
        assert isinstance(samples, TensorSamples)
        assert train(samples.inputs[place]).equal(data.train()[row][0])
        assert evaluation(samples.inputs[place]).equal(data.eval()[row][0])
        assert samples.targets[place] == data[row][1]


def test_raw_rows_need_one_pair_of_transforms() -> None:
    same = part([0], ToFloat((0.5,), (0.5,)), ToFloat()).concat(part([1]))  # equal, not identical
    assert internals.raw_rows(same, [0, 7]) is not None
    other = part([0]).concat(part([1], SHIFTED))
    assert internals.raw_rows(other, [0, 7]) is None
    assert internals.raw_rows(other, [0, 3]) is not None


def test_raw_rows_of_files_are_found_and_those_of_strangers_are_not(tmp_path: Path) -> None:
    result = internals.raw_rows(files(tmp_path), [2])
    assert result is not None
    [(samples, row)] = result[0]
    assert isinstance(samples, FileSamples)
    assert row == 2
    assert internals.raw_rows(foreign(), [0]) is None
    assert internals.raw_rows(own_groups(make_samples([0], 4, seed=0)), [0]) is None


def test_the_group_in_force_is_told() -> None:
    data: AvalancheDataset[Any] = part([0], Identity())
    assert internals.transform_group(data.train()) == "train"
    assert internals.transform_group(data.eval()) == "eval"
    assert internals.transform_group(data.eval().subset([1]).concat(data.eval())) == "eval"
