"""Views of a stream's samples, and data sets that make them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor
from torch.utils.data import TensorDataset

from cl_suite.avalanche import api, benchmark, internals
from cl_suite.avalanche.loader import TensorLoader, batches
from cl_suite.data.samples import TensorSamples
from cl_suite.data.sound_transforms import ToWaveform
from cl_suite.data.transforms import (
    AutoAugment,
    Channels,
    Compose,
    Cutout,
    Identity,
    RandomAffine,
    RandomCropFlip,
    RandomResizedCrop,
    Resize,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)
from cl_suite.errors import UserError
from cl_suite.methods.self_supervised.transforms import ColorJitter, GaussianBlur, Solarise
from cl_suite.methods.self_supervised.views import ssl_views, standard_views, with_views
from cl_suite.requirements import BatchLayout

SCALE = ToFloat((0.5, 0.4, 0.3), (0.2, 0.2, 0.25))
PLAIN = ToFloat()


def steps(transform: Transform) -> tuple[Transform, ...]:
    assert isinstance(transform, Compose)
    return transform.steps


def colour_data(size: int = 12, num: int = 10) -> api.AvalancheDataset:
    pixels = torch.randint(
        0, 256, (num, 3, size, size), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    train = Compose((RandomCropFlip(2), SCALE))
    return api.dataset(TensorSamples(pixels, list(range(num))), train, SCALE, range(num))


@pytest.mark.parametrize(
    ("train", "fixed", "mirrors"),
    [
        ((RandomCropFlip(4), SCALE), (), True),  # CIFAR-100
        ((RandomCropFlip(4), AutoAugment("cifar10"), Cutout(16), SCALE, Resize(12)), (), True),
        ((Resize(14), AutoAugment("imagenet"), SCALE, RandomResizedCrop(12)), (Resize(14),), True),
        (
            (ResizeCenterCrop(14, 14), SCALE, RandomResizedCrop(12, flip=False)),
            (ResizeCenterCrop(14, 14),),
            False,
        ),
        ((Channels(3), SCALE, RandomResizedCrop(12)), (Channels(3),), True),
        ((SCALE, RandomAffine()), (), False),  # characters
        ((Compose((Resize(14), SCALE)), Cutout(3)), (Resize(14),), False),
    ],
)
def test_fixed_steps_and_scale_of_the_training_transform_stay(
    train: tuple[Transform, ...], fixed: tuple[Transform, ...], mirrors: bool
) -> None:
    views = steps(standard_views(Compose(train), (3, 12, 12)))
    assert views[: len(fixed)] == fixed
    assert views[len(fixed)] == PLAIN  # colours are changed between 0 and 1
    assert views[len(fixed) + 1] == RandomResizedCrop(12, flip=mirrors)
    assert views[-1] == SCALE
    assert sum(isinstance(step, ColorJitter) for step in views) == 1


def test_only_large_images_are_blurred() -> None:
    small = steps(standard_views(SCALE, (3, 64, 64)))
    large = steps(standard_views(SCALE, (3, 84, 84)))
    assert not any(isinstance(step, GaussianBlur) for step in small)
    assert [step for step in large if isinstance(step, GaussianBlur)] == [GaussianBlur(9)]


def test_views_of_a_whole_batch_have_the_inputs_shape_and_scale() -> None:
    views = standard_views(Compose((RandomCropFlip(4), SCALE)), (3, 12, 12))
    assert views.batched
    torch.manual_seed(0)
    found = views(torch.full((500, 3, 16, 20), 255, dtype=torch.uint8))
    assert found.shape == (500, 3, 12, 12)
    white = SCALE(torch.ones(3, 1, 1)).expand(3, 12, 12)
    black = SCALE(torch.zeros(3, 1, 1)).expand(3, 12, 12)
    assert (found <= white + 1e-4).all()
    assert (found >= black - 1e-4).all()
    solarised = (found == black).flatten(1).all(dim=1).float().mean()
    assert 0 < solarised < 0.2
    assert any(isinstance(step, Solarise) for step in steps(views))


def test_a_streams_views_are_those_of_its_training_transform() -> None:
    info = dataclasses.replace(
        make_stream().info, train_transform=Compose((RandomCropFlip(2), PLAIN))
    )
    assert ssl_views(info) == standard_views(info.train_transform, (1, 16, 16))


@pytest.mark.parametrize("shape", [(3, 12, 14), (40, 63), (64,)])
def test_what_is_no_square_image_has_no_standard_views(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"square images.*pass augmentation='scenario'"):
        standard_views(SCALE, shape)


@pytest.mark.parametrize("train", [Compose((ToWaveform(), SCALE)), Identity(), Resize(12)])
def test_a_transform_with_an_unknown_step_or_without_scale_has_none(train: Transform) -> None:
    with pytest.raises(UserError, match=r"no standard views .*pass augmentation='sc"):
        standard_views(train, (3, 12, 12))


@pytest.mark.parametrize("augmentation", ["auto", "standard"])
def test_a_data_set_of_colour_images_gets_them_and_keeps_its_evaluation(augmentation: str) -> None:
    data = colour_data()
    changed = with_views(data, augmentation)  # type: ignore[arg-type]
    expected = standard_views(Compose((RandomCropFlip(2), SCALE)), (3, 12, 12))
    [(samples, transform, rows)] = internals.resolve(changed)
    assert transform == expected
    assert rows.tolist() == list(range(10))
    [(_, evaluation, _)] = internals.resolve(changed.eval())
    assert evaluation == SCALE
    [(original, before, _)] = internals.resolve(data)
    assert original is samples
    assert before == Compose((RandomCropFlip(2), SCALE))


def test_they_are_made_by_the_batch_and_each_view_anew() -> None:
    loader = batches(with_views(colour_data(), "auto"), 5, layout=BatchLayout(views=2))
    assert isinstance(loader, TensorLoader)
    first, labels, second = next(iter(loader))
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert first.shape == second.shape == (5, 3, 12, 12)
    assert not first.equal(second)


def test_grey_images_keep_the_scenarios_views_unless_standard_ones_are_wanted() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    assert with_views(data, "auto") is data
    assert with_views(data, "scenario") is data
    [(_, transform, _)] = internals.resolve(with_views(data, "standard"))
    assert transform == standard_views(Compose((PLAIN, RandomAffine())), (1, 16, 16))


def test_colour_images_without_standard_views_keep_the_scenarios() -> None:
    data = internals.with_train_transform(colour_data(), Compose((SCALE, Identity())))
    assert with_views(data, "auto") is data
    with pytest.raises(UserError, match="Identity"):
        with_views(data, "standard")


def test_foreign_data_keeps_its_own_transform() -> None:
    data = foreign()
    assert with_views(data, "auto") is data
    with pytest.raises(UserError, match=r"pass augmentation='scenario'"):
        with_views(data, "standard")


def foreign() -> api.AvalancheDataset:
    from avalanche.benchmarks.utils import as_classification_dataset

    class WithTargets(TensorDataset):
        targets = (0, 1, 2)

    return as_classification_dataset(WithTargets(torch.rand(3, 3, 4, 4), torch.arange(3)))


@dataclasses.dataclass(frozen=True)
class Double:
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * x.float()


@pytest.mark.parametrize("form", ["whole", "subset", "joined", "evaluating"])
def test_another_training_transform_reaches_every_part(form: str) -> None:
    one, two = (colour_data(num=n) for n in (4, 6))
    data = {
        "whole": one,
        "subset": one.subset([3, 1]),
        "joined": one.subset([2]).concat(two),
        "evaluating": one.eval(),
    }[form]
    changed = internals.with_train_transform(data, Double())
    assert internals.transform_group(changed) == internals.transform_group(data)
    assert api.sample_ids(changed) == api.sample_ids(data)
    assert list(changed.targets) == list(data.targets)
    parts = internals.resolve(changed.train())
    assert parts is not None
    assert all(transform == Double() for _, transform, _ in parts)
    for index in range(len(data)):
        raw = [samples.inputs[row] for samples, _, rows in parts for row in rows][index]
        assert changed.train()[index][0].equal(2 * raw.float())
        assert changed.eval()[index][0].equal(data.eval()[index][0])
    assert data.train()[0][0].shape == (3, 12, 12)
    assert (data.train()[0][0] <= 5).all()  # its own transform still


def test_foreign_data_gets_no_other_transform() -> None:
    with pytest.raises(ValueError, match="not made by cl-suite"):
        internals.with_train_transform(foreign(), Double())
