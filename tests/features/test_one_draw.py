"""Random views that are drawn once: they depend on the sample and their number alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers.banks import Counting, sets
from helpers.tiny_streams import make_stream

from cl_suite.data.stream import Stream
from cl_suite.data.transforms import Compose, RandomCropFlip, ToFloat
from cl_suite.errors import UserError
from cl_suite.features.bank import banked_stream
from cl_suite.features.one_draw import OneDraw
from cl_suite.models.modes import evaluating
from cl_suite.runs.assemble import _views

RANDOM = Compose((ToFloat(), RandomCropFlip()))


def images(num: int = 6) -> torch.Tensor:
    noise = torch.rand(num, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    return (255 * noise).to(torch.uint8)


def test_a_draw_depends_on_the_image_and_its_number_alone() -> None:
    image, other = images(2)
    first, second = OneDraw(RANDOM, 0), OneDraw(RANDOM, 1)
    view = first(image)
    torch.manual_seed(99)
    first(other)
    assert first(image.clone()).equal(view)
    assert not second(image).equal(view)
    assert any(not OneDraw(RANDOM, n)(image).equal(RANDOM.steps[0](image)) for n in range(4))


def test_the_global_generator_goes_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    OneDraw(RANDOM, 0)(images(1)[0])
    assert torch.rand(3).equal(expected)


def test_threads_do_not_disturb_each_other() -> None:
    view = OneDraw(RANDOM, 0)
    alone = [view(image) for image in images(40)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(view, images(40)))
    assert all(a.equal(b) for a, b in zip(alone, together, strict=True))


def test_the_bank_computes_a_drawn_view_once(tmp_path: Path) -> None:
    stream = make_stream().with_transforms(RANDOM, ToFloat())
    num_train, num_test = (sum(map(len, part)) for part in (stream.train, stream.test))

    def banked(num: int) -> tuple[Stream, int]:
        """Return a stream with this many views, and the number of images computed for it."""
        done = []
        views = _views([f"random:{num}"], stream.info)
        found = banked_stream(
            stream,
            Counting(),
            folder=tmp_path,
            views=views,
            on_progress=lambda now, total: done.append(total) if now == total else None,
        )
        return found, sum(done)

    first, computed = banked(3)
    assert computed == 4 * num_train + num_test
    again, computed = banked(3)
    assert computed == 0
    assert all(a.inputs.equal(b.inputs) for a, b in zip(sets(first), sets(again), strict=True))
    _, computed = banked(5)
    assert computed == 2 * num_train
    view = _views(["random:3"], stream.info)[1](stream.train[0][0][0])
    with evaluating(backbone := Counting()):
        expected = backbone(view[None])[0]
    torch.testing.assert_close(sets(first)[0].inputs[0, 2], expected)
    assert "4 views replace it" in first.info.notes[-1]


def test_a_stream_without_augmentation_has_no_random_views() -> None:
    stream = make_stream().with_transforms(ToFloat(), ToFloat())
    with pytest.raises(UserError, match=r"does not augment its training samples.* random:N"):
        _views(["random:8"], stream.info)


def test_views_of_simclr_need_square_images() -> None:
    stream = make_stream().with_transforms(RANDOM, ToFloat())
    drawn = _views(["simclr:2"], stream.info)
    assert [view.number for view in drawn] == [0, 1]  # type: ignore[attr-defined]
    assert drawn[0](images(1)[0]).shape == stream.info.input_shape
