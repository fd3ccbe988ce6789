"""Fixed views of a session behind the frozen blocks of a network, computed once and in memory.

Several short trainings on the same images then run only the blocks that change. The views are drawn
from the training transform, so an image has a few crops instead of a new one in each epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.data.transforms import Transform
from cl_suite.features.bank import DrawnView, FirstView
from cl_suite.models.classifier import Classifier
from cl_suite.models.frozen_part import FrozenPart
from cl_suite.models.modes import evaluating
from cl_suite.plugin import answers_of

VIEWS = 8  # of each image, besides the evaluation view
MEMORY_BYTES = 2**30


@dataclass(frozen=True)
class Stored:
    """A stream of hidden values, and the images that went through the frozen blocks for it."""

    stream: Stream
    passes: int


def behind_frozen_blocks(
    stream: Stream,
    model: Classifier,
    strategy: Any,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
) -> Stored | None:
    """Return a session's hidden values, and let the network take them instead of images.

    Args:
        stream: one session without test samples.
        model: the network before the strategy has added anything to it.
        batch_size: images a forward pass.

    Returns:
        None if no block in front stays as it is, or the values do not fit into memory; the network
        is then unchanged.
    """
    backbone, info, (samples,) = model.backbone, stream.info, stream.train
    if backbone.takes_stored_values:
        return None
    if (block := answers_of(strategy).first_changed_block(model)) < 1:
        return None
    part = FrozenPart(backbone.body, block, info.input_shape).to(device)
    size = len(samples) * 4 * torch.Size(part.shape).numel()
    random = repr(info.train_transform) != repr(info.eval_transform)
    num_views = min(VIEWS if random else 0, MEMORY_BYTES // size - 1)
    if num_views < random:
        return None
    views = [info.eval_transform, *[info.train_transform] * num_views]
    hidden = torch.stack([_through(part, samples, view, batch_size, device) for view in views], 1)
    backbone.enter_behind(part)
    words = tuple(map(repr, (info.eval_transform, info.train_transform)))
    changed = dataclasses.replace(
        info,
        input_shape=(hidden.shape[-1],),
        train_transform=DrawnView(words, ""),
        eval_transform=FirstView(words[0], ""),
    )
    values = TensorSamples(hidden, list(samples.targets))
    return Stored(Stream(changed, (values,), ()), len(views) * len(samples))


@torch.no_grad()
def _through(
    part: FrozenPart,
    samples: Samples,
    view: Transform,
    batch_size: int,
    device: torch.device | str,
) -> Tensor:
    """Return one view of all samples behind a part, `(n, size)`."""
    with evaluating(part):
        return torch.cat(
            [part(batch.to(device)).cpu() for batch in _batches(samples, view, batch_size)]
        )


def _batches(samples: Samples, view: Transform, batch_size: int) -> Iterator[Tensor]:
    for first in range(0, len(samples), batch_size):
        rows = range(first, min(first + batch_size, len(samples)))
        yield torch.stack([view(samples[row][0]) for row in rows])
