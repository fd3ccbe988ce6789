"""State for losses with a memory: a queue of past keys and a moving-average teacher."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class KeyQueue(nn.Module):
    """The newest `size` keys with their labels, first in, first out.

    It is empty at first: `filled_keys` holds only pushed keys. Read it for the loss, then push.
    `state_dict` holds all of it.

    Args:
        size: number of keys kept.
        dim: width of a key.
    """

    keys: Tensor  # (size, dim)
    labels: Tensor  # (size,), -1 for no label
    pointer: Tensor  # (), the row that is written next
    filled: Tensor  # (), rows that hold a key

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"size and dim must be at least 1, got {size} and {dim}")
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("filled", torch.tensor(0))

    @property
    def filled_keys(self) -> Tensor:
        """A copy `(filled, dim)`, which later pushes do not change."""
        return self.keys[: int(self.filled)].clone()

    @property
    def filled_labels(self) -> Tensor:
        """A copy `(filled,)` of their labels."""
        return self.labels[: int(self.filled)].clone()

    @torch.no_grad()
    def push(self, keys: Tensor, labels: Tensor | None = None) -> None:
        """Write keys `(n, dim)` and labels `(n,)` over the oldest; only the last `size` are kept.

        Raises:
            ValueError: if the shapes do not match.
        """
        size, dim = self.keys.shape
        if keys.dim() != 2 or keys.shape[1] != dim:
            raise ValueError(f"keys have shape {tuple(keys.shape)}; this queue needs (n, {dim})")
        if labels is None:
            labels = self.labels.new_full((len(keys),), -1)
        if labels.shape != keys.shape[:1]:
            raise ValueError(
                f"labels of shape {tuple(labels.shape)} do not fit {len(keys)} keys; pass one each"
            )
        keys, labels = keys[-size:], labels[-size:]
        rows = (self.pointer + torch.arange(len(keys), device=self.keys.device)) % size
        self.keys[rows] = keys.to(self.keys)
        self.labels[rows] = labels.to(self.labels)
        self.pointer.copy_((self.pointer + len(keys)) % size)
        self.filled.copy_((self.filled + len(keys)).clamp(max=size))


@torch.no_grad()
def ema_update_(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Set the teacher's parameters to `momentum * teacher + (1 - momentum) * student`.

    Buffers (statistics of BatchNorm) are copied.

    Raises:
        ValueError: if the momentum is not in [0, 1], or the networks have different tensors.
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be from 0 to 1, got {momentum}; 0.999 is common")
    for old, new in _pairs(teacher.named_parameters(), student.named_parameters()):
        old.lerp_(new.to(old), 1 - momentum)
    for old, new in _pairs(teacher.named_buffers(), student.named_buffers()):
        old.copy_(new)


def _pairs(
    teacher: Iterable[tuple[str, Tensor]], student: Iterable[tuple[str, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    old, new = dict(teacher), dict(student)
    if old.keys() != new.keys():
        odd = sorted(old.keys() ^ new.keys())
        raise ValueError(f"only one of teacher and student has {odd[0]!r}; copy one from the other")
    return [(old[name], new[name]) for name in old]
