"""A second branch of a network, which predicts the pretext transform of its input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.methods.pretext.tasks import PretextTask
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function, unreduced
from cl_suite.models.heads.class_head import LinearHead
from cl_suite.models.modes import batchnorms
from cl_suite.models.stages import Stages, cut


class PretextBranch(nn.Module):
    """A private copy of a backbone's last blocks, and a linear head for each pretext task.

    Args:
        tasks: the pretext tasks; kept here, because a puzzle's permutations belong to the head.
        dim: width of the features.
        body: the backbone's body, whose last blocks and end are copied; None if the branch starts
            at the features.
        num_blocks: number of blocks copied.
    """

    def __init__(
        self,
        tasks: Sequence[PretextTask],
        dim: int,
        body: nn.Module | None = None,
        num_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.tasks: Sequence[PretextTask] = nn.ModuleList(tasks)  # type: ignore[assignment]  # acts alike
        self.num_blocks = num_blocks
        self.body = None if body is None else private_end(body, num_blocks)
        # the suite's own head: a network's last nn.Linear would count as its classifier
        self.heads = nn.ModuleList(LinearHead(dim) for _ in tasks)
        for head, task in zip(self.heads, tasks, strict=True):
            head.grow(range(task.num_labels))  # type: ignore[operator]  # a module's attribute

    def forward(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        """Return the logits of each task for its own images; `model` runs the shared part.

        These images do not change the running averages of BatchNorm in the shared part: in train
        mode they are normalised by their own statistics. The private part has separate averages.

        Args:
            images: `(tasks * batch, ...)`, task after task.
        """
        features = unreduced(self._features(model, images))
        parts = features.chunk(len(self.heads))
        return [head(part) for head, part in zip(self.heads, parts, strict=True)]

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        if self.body is None:
            with untracked(model):
                return feature_function(model)(images)
        assert isinstance(model, Classifier), "only such a model has blocks to copy"
        shared, own = cut(model.backbone.body), cut(self.body)
        with untracked(model.backbone):
            hidden = shared.prefix(images, shared.num_blocks - self.num_blocks)
        return own.suffix(hidden, own.num_blocks - self.num_blocks)


def private_end(body: nn.Module, num_blocks: int) -> nn.Module:
    """Return a copy of a body with only the tensors of its last blocks and what follows them.

    Only its `suffix` from there on (see `Stages`) can run.
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
            with suppress(AttributeError):  # already removed with its parent
                twin.set_submodule(name, nn.Identity())
    return twin.requires_grad_(True)


def check_cut(body: nn.Module, num_blocks: int) -> None:
    """Raise `UserError` if nothing below the last `num_blocks` blocks is trained."""
    stages = cut(body)
    if num_blocks >= stages.num_blocks:
        raise UserError(
            f"the backbone has {stages.num_blocks} blocks, so it would share none with a branch of "
            f"{num_blocks}; pass {option('strategy.branch', 'features')}, or choose another "
            "backbone"
        )
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    if not any(_is_shared(stages, name, num_blocks) for name in trained):
        raise UserError(
            f"nothing below the last {num_blocks} blocks of the backbone is trained, so a pretext "
            f"task would have no effect; raise {option('model.trained_blocks')}"
        )


@contextmanager
def untracked(module: nn.Module) -> Iterator[None]:
    """Freeze the running averages of BatchNorm layers inside the `with` block."""
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
