"""A classifier's encoder, and copies of it that differ in a few tensors.

A copy is a dict of these tensors by name. The first layers that it shares with another network run
once: its tail starts from the hidden values at which the two begin to differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from cl_suite.models.adapters import LoRASettings, adapting, add_lora, lora_parameters
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function
from cl_suite.models.first_token import read_first_token
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.stages import Stages, cut, watching

Tensors = Mapping[str, Tensor]


class Encoder:
    """Maps inputs to features `(batch, dim)` with a classifier's body.

    It holds no tensors itself. For a foreign network it is everything before the last linear layer;
    that has no blocks, so only whole passes are possible.

    Attributes:
        body: the network whose tensors the copies name.
        stages: the body cut into pieces.
        classifier: our head, or a foreign network's last linear layer.
        num_frozen_blocks: number of first blocks that the user froze.
    """

    def __init__(self, model: nn.Module) -> None:
        self.classifier: nn.Module
        self._whole: nn.Module
        if isinstance(model, Classifier):
            self.body = model.backbone.body
            self.classifier = model.head
            self.stages = cut(self.body)
            self._whole = model.backbone
            self.num_frozen_blocks = model.backbone.num_frozen_blocks
        else:
            features = feature_function(model)
            parts = [name for name, _ in model.named_children()]
            self.body = model
            self.classifier = [p for p in model.modules() if isinstance(p, nn.Linear)][-1]
            self.stages = Stages(model, lambda x: x, (), features, parts)
            self._whole = self.stages
            self.num_frozen_blocks = 0

    def first_stage(self, names: Iterable[str]) -> int:
        """Return the first piece that any of these tensors belongs to (see `Stages.stage_of`)."""
        return min(self.stages.stage_of(name) for name in names)

    def names_from(self, stage: int) -> list[str]:
        """Return the names of the body's parameters from a piece on, without adapters and head.

        -1 means all of them. Blocks that the user froze are left out.
        """
        other = {id(p) for p in self.classifier.parameters()}
        other |= {id(p) for p in lora_parameters(self.body).values()}
        if self.num_frozen_blocks:
            stage = max(stage, self.num_frozen_blocks)
        return [
            name
            for name, parameter in self.body.named_parameters()
            if self.stages.stage_of(name) >= stage and id(parameter) not in other
        ]

    def block(self, stage: int) -> nn.Module | None:
        """Return the block with this number, None for the pieces before and after the blocks."""
        return self.stages.blocks[stage] if 0 <= stage < self.stages.num_blocks else None

    def run(self, x: Tensor, tensors: Tensors, stage: int) -> tuple[Tensor, Tensor]:
        """Return the features of a copy, and its hidden values before block `stage`.

        If `stage` is not a block, the hidden values are the input itself and `tail` starts over.
        """
        block = self.block(stage)
        if block is None:
            return self._call(self._whole, tensors, x), x
        with watching(block) as seen:
            features = self._call(self._whole, tensors, x)
        return features, seen[-1]

    def tail(self, hidden: Tensor, tensors: Tensors, stage: int) -> Tensor:
        """Return the features of a copy from the hidden values that `run` returned for `stage`."""
        if self.block(stage) is None:
            return self._call(self._whole, tensors, hidden)
        return self._call(self.stages, tensors, hidden, stage)

    def snapshot(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return a copy with its own values of these tensors."""
        state = self.body.state_dict()
        return {name: state[name].clone() for name in names}

    def classify(self, features: Tensor, tensors: Tensors) -> Tensor:
        """Return the logits `(batch, outputs)` of a copy of the classifier."""
        own = {name: tensor.to(features.device) for name, tensor in tensors.items()}
        logits: Tensor = functional_call(self.classifier, own, (features,))
        return logits

    @torch.no_grad()
    def set_rows(self, class_ids: list[int], rows: Tensor) -> None:
        """Write class vectors `(len(class_ids), dim)` into the classifier; their biases become 0.

        Raises:
            ValueError: if a foreign network has no output for one of the classes.
        """
        head = self.classifier
        if isinstance(head, ClassHead):
            head.set_rows(class_ids, F.pad(rows, (0, head.dim - rows.shape[1])))
            return
        assert isinstance(head, nn.Linear)  # a foreign network's last one
        weight, bias = head.weight, head.bias
        if max(class_ids) >= len(weight):
            raise ValueError(
                f"class {max(class_ids)} is beyond the {len(weight)} outputs of the network's last "
                "linear layer; add outputs, or use cl_suite.models.classifier.Classifier"
            )
        weight[class_ids] = rows.to(weight)
        if bias is not None:
            bias[class_ids] = 0

    def _call(self, module: nn.Module, tensors: Tensors, x: Tensor, *more: int) -> Tensor:
        named = {f"body.{name}": tensor.to(x.device) for name, tensor in tensors.items()}
        features: Tensor = functional_call(module, named, (x, *more))
        return features


def adapt(model: nn.Module, settings: LoRASettings, last_blocks: int | None = None) -> None:
    """Freeze a classifier's encoder and put adapters on its last blocks, all of them by default.

    Blocks that the user froze get none, nor does the last linear layer of a foreign network. From
    then on, the last block of our vision transformer computes only the token that is read.

    Raises:
        UserError: see `add_lora`.
    """
    encoder = Encoder(model)
    start = encoder.num_frozen_blocks
    if last_blocks is not None:
        start = max(start, cut(encoder.body).num_blocks - last_blocks)
    exclude = settings.exclude
    if not isinstance(model, Classifier):
        linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
        exclude = (*exclude, linear[-1])
    add_lora(encoder.body, replace(settings, start=start, exclude=exclude))
    if isinstance(model, Classifier):
        read_first_token(encoder.body)


class StudentPass:
    """Records a training template's pass through the network, so copies can continue from it.

    Until `end`, the frozen part of the body is in eval mode, as in `adapting`.

    Args:
        x: the batch that the template is about to run.
        stage: block whose input hidden values are recorded.
        dropout: whether the adapters' dropout acts.
    """

    def __init__(self, encoder: Encoder, x: Tensor, stage: int, *, dropout: bool) -> None:
        self._open = ExitStack()
        self._open.enter_context(adapting(encoder.body, dropout=dropout))
        self._features = self._open.enter_context(watching(encoder.classifier))
        self._hidden = [x]
        if (block := encoder.block(stage)) is not None:
            self._hidden = self._open.enter_context(watching(block))
        handle = encoder.classifier.register_forward_pre_hook(self._note_autocast)
        self._open.callback(handle.remove)

    def end(self) -> None:
        """Stop recording and restore the network's modes."""
        self._open.close()

    @property
    def features(self) -> Tensor:
        """The features `(batch, dim)`, with their graph."""
        return torch.flatten(self._features[-1], start_dim=1)

    @property
    def hidden(self) -> Tensor:
        """The hidden values before the block, detached; see `Encoder.run`."""
        return self._hidden[-1].detach()

    @property
    def attached(self) -> Tensor:
        """The hidden values before the block, with their graph."""
        return self._hidden[-1]

    def _note_autocast(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # the template wraps only its own pass; the copies' passes need the same precision
        kind = inputs[0].device.type
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        self.autocast = torch.autocast(kind, dtype=dtype, enabled=enabled)
