"""Runs the part of a network that never changes; the feature bank stores its output."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from cl_suite.models.digest import tensor_digest, weights_digest, words
from cl_suite.models.modes import evaluating
from cl_suite.models.stages import cut


class FrozenPart(nn.Module):
    """Maps images to flat tensors `(batch, size)` with the part of a body that never changes.

    Args:
        until: number of blocks of the prefix; None for the whole body.
        input_shape: shape of one input.

    Attributes:
        shape: shape of the part's output for one input, before flattening.
    """

    def __init__(self, body: nn.Module, until: int | None, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.until = until
        with evaluating(self), torch.no_grad():
            parameter = next(body.parameters(), torch.zeros(()))
            probe = torch.zeros(1, *input_shape, device=parameter.device)
            self.shape = tuple(self._run(probe).shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x).flatten(1)

    def _run(self, x: Tensor) -> Tensor:
        if self.until is None:
            features: Tensor = self.body(x)
            return features
        return cut(self.body).prefix(x, self.until)

    def key(self) -> str:
        """Return a digest of this part alone; trainable layers above it do not matter."""
        if self.until is None:
            return weights_digest(self.body)
        stages = cut(self.body)
        parts = {
            name: words(part)
            for name, part in self.body.named_modules()
            if name and not list(part.children()) and stages.stage_of(f"{name}.") < self.until
        }
        digest = hashlib.blake2b(f"{type(self.body)} until {self.until} {parts}".encode())
        for name, tensor in sorted(self.body.state_dict().items()):
            if stages.stage_of(name) < self.until and not name.endswith("num_batches_tracked"):
                digest.update(name.encode() + tensor_digest(tensor))
        return digest.hexdigest()
