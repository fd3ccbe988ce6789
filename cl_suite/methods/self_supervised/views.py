"""Random views of a stream's samples, and data sets that produce them."""

from __future__ import annotations

from typing import Any, Literal

from cl_suite.data.stream import StreamInfo
from cl_suite.data.transforms import (
    AutoAugment,
    Channels,
    Compose,
    Cutout,
    RandomAffine,
    RandomCropFlip,
    RandomResizedCrop,
    Resize,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)
from cl_suite.errors import UserError, option
from cl_suite.methods.self_supervised.transforms import (
    ColorJitter,
    GaussianBlur,
    RandomGreyscale,
    Solarise,
)

Augmentation = Literal["auto", "standard", "scenario"]
RANDOM_STEPS = (AutoAugment, Cutout, RandomAffine, RandomCropFlip, RandomResizedCrop)
FIXED_STEPS = (Channels, Resize, ResizeCenterCrop)
UNBLURRED = 64  # pixels per side up to which images are not blurred, as for CIFAR


def ssl_views(info: StreamInfo) -> Transform:
    """Return the random views of a stream of photographs; see `standard_views`.

    Raises:
        UserError: if this stream has no standard views.
    """
    return standard_views(info.train_transform, info.input_shape)


def standard_views(train: Transform, input_shape: tuple[int, ...]) -> Transform:
    """Return the random views that replace a training transform.

    Its resizing and standardisation stay; its other random steps are left out. Images are mirrored
    only if the training transform does so, because signs and letters must not be. The authors blur
    and solarise the two views with different probabilities; here both use the mean.

    Args:
        train: transform from a raw image to the network's input.
        input_shape: shape of this input.

    Raises:
        UserError: if samples are not square images, or the transform has an unknown step.
    """
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise UserError(
            f"the standard views need square images, but inputs have shape {input_shape}; pass "
            f"{option('strategy.augmentation', 'scenario')}"
        )
    fixed, scale, mirrors = _read(train)
    size = input_shape[1]
    blurring = (GaussianBlur(2 * (size // 20) + 1),) if size > UNBLURRED else ()
    return Compose(
        (
            *fixed,
            ToFloat(),
            RandomResizedCrop(size, flip=mirrors),
            ColorJitter(),
            RandomGreyscale(),
            *blurring,
            Solarise(),
            ToFloat(scale.mean, scale.std),
        )
    )


def _read(train: Transform) -> tuple[list[Transform], ToFloat, bool]:
    """Return a training transform's fixed steps, its standardisation, and whether it mirrors."""
    fixed: list[Transform] = []
    scale: ToFloat | None = None
    mirrors = False
    for step in _steps(train):
        mirrors = mirrors or bool(getattr(step, "flip", False))
        if isinstance(step, ToFloat):
            scale = step
        elif isinstance(step, FIXED_STEPS):
            # steps after the standardisation only resize small images to the input's size
            fixed += [step] if scale is None else []
        elif not isinstance(step, RANDOM_STEPS):
            raise UserError(
                f"there are no standard views for samples with the training transform {step!r}; "
                f"pass {option('strategy.augmentation', 'scenario')}"
            )
    if scale is None:
        raise UserError(
            f"there are no standard views for a training transform without ToFloat, {train!r}; "
            f"pass {option('strategy.augmentation', 'scenario')}"
        )
    return fixed, scale, mirrors


def _steps(transform: Transform) -> list[Transform]:
    if isinstance(transform, Compose):
        return [inner for step in transform.steps for inner in _steps(step)]
    return [transform]


def with_views(data: Any, augmentation: Augmentation) -> Any:
    """Return a data set whose training transform makes random views of its samples.

    Args:
        data: an Avalanche data set.
        augmentation: the standard views, those of the scenario's training transform, or (auto) the
            first for suitable colour images and the second for everything else.

    Raises:
        UserError: if standard views are requested but not available for this data.
    """
    from cl_suite.avalanche import internals

    if augmentation == "scenario":
        return data
    found = internals.raw_rows(data, [0])
    if found is None:
        if augmentation == "auto":
            return data
        raise UserError(
            "the standard views replace a training transform of the suite, which this data set "
            f"lacks; pass {option('strategy.augmentation', 'scenario')} and a random training "
            "transform"
        )
    [(samples, row)], (train, evaluation) = found
    raw = samples[row][0]
    try:
        views = standard_views(train, tuple(evaluation(raw).shape))
    except UserError:
        if augmentation == "standard":
            raise
        return data
    if augmentation == "auto" and len(raw) != 3:
        return data
    return internals.with_train_transform(data, views)
