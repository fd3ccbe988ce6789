"""A second way out of a network, by which it tells what was done to its input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.methods.pretext.tasks import PretextTask
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.models.heads.class_head import LinearHead
from cl_suite.models.modes import batchnorms
from cl_suite.models.stages import Stages, cut


class PretextBranch(nn.Module):
    """A private copy of a backbone's last blocks, and a linear head for each pretext task.

    Args:
        tasks: the pretext tasks; kept here, as a puzzle's permutations belong to the head.
        dim: width of the features.
        body: the backbone's body, whose last blocks and end are copied; None: the branch starts
            at the features.
        num_blocks: how many blocks are copied.
    """

    def __init__(
        self,
        tasks: Sequence[PretextTask],
        dim: int,
        body: nn.Module | None = None,
        num_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.tasks: Sequence[PretextTask] = nn.ModuleList(tasks)  # type: ignore[assignment]
        self.num_blocks = num_blocks
        self.body = None if body is None else private_end(body, num_blocks)
        # the suite's own head: a network's last nn.Linear would be taken for its classifier
        self.heads = nn.ModuleList(LinearHead(dim) for _ in tasks)
        for head, task in zip(self.heads, tasks, strict=True):
            head.grow(range(task.num_labels))  # type: ignore[operator]  # a module's attribute

    def forward(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        """Return the logits of each task for its own images, the shared part being `model`'s.

        Running averages of BatchNorm in the shared part do not notice these images: in train mode
        they are normalised by their own statistics. The private part has averages of its own.

        Args:
            images: `(tasks * batch, ...)`, one task's after the other's.
        """
        features = self._features(model, images).float()
        parts = features.chunk(len(self.heads))
        return [head(part) for head, part in zip(self.heads, parts, strict=True)]

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        if self.body is None:
            with untracked(model):
                return feature_function(model)(images)
        assert isinstance(model, Classifier), "only of such a model are there blocks to copy"
        shared, own = cut(model.backbone.body), cut(self.body)
        with untracked(model.backbone):
            hidden = shared.prefix(images, shared.num_blocks - self.num_blocks)
        return own.suffix(hidden, own.num_blocks - self.num_blocks)


def private_end(body: nn.Module, num_blocks: int) -> nn.Module:
    """Return a copy of a body that holds the tensors of its last blocks, and what follows, alone.

    Its `suffix` from there on (see `Stages`) is all that can be run.
    """
    twin = copy.deepcopy(body)
    stages = cut(twin)
    own = [name for name in twin.state_dict() if not _is_shared(stages, name, num_blocks)]
    for name, part in list(twin.named_modules()):
        held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        if not name:
            for tensor, _ in held:
                if tensor not in own:
                    setattr(twin, tensor, None)
        elif held and not any(each.startswith(f"{name}.") for each in own):
            with suppress(AttributeError):  # gone already, with what it was a part of
                twin.set_submodule(name, nn.Identity())
    return twin.requires_grad_(True)


def check_cut(body: nn.Module, num_blocks: int) -> None:
    """Raise `UserError` unless something that learns lies below the last `num_blocks` blocks."""
    stages = cut(body)
    if num_blocks >= stages.num_blocks:
        raise UserError(
            f"the backbone has {stages.num_blocks} blocks, none of which would be shared with a "
            f"branch of {num_blocks}; pass --strategy.branch features, or another backbone"
        )
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    if not any(_is_shared(stages, name, num_blocks) for name in trained):
        raise UserError(
            f"nothing below the last {num_blocks} blocks of the backbone is trained, so a pretext "
            "task would teach it nothing; raise --model.trained_blocks"
        )


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Leave the running averages of BatchNorm layers alone inside the block."""
    layers = [layer for layer in batchnorms(module) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False  # type: ignore[assignment]  # a module's attribute
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True  # type: ignore[assignment]  # a module's attribute


def _is_shared(stages: Stages, name: str, num_blocks: int) -> bool:
    return stages.stage_of(name) < stages.num_blocks - num_blocks
