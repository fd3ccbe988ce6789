"""Digests of tensors and networks: equal digests mean equal contents."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import Tensor, nn

DIGEST_BYTES = 16


def tensor_digest(tensor: Tensor) -> bytes:
    """Return a digest of a tensor's type, shape and values."""
    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    digest = hashlib.blake2b(head, digest_size=DIGEST_BYTES)
    # in two steps, so the values are not copied
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(plain.numpy().data)
    return digest.digest()


def weights_digest(module: nn.Module) -> str:
    """Return a digest of a network's structure and of every tensor in its state.

    The tensors' device and memory order do not matter.
    """
    digest = hashlib.blake2b(words(module).encode(), digest_size=DIGEST_BYTES)
    for name, value in sorted(module.state_dict().items()):
        # a counter of training steps that some weight files omit
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode() + tensor_digest(value))
    return digest.hexdigest()


def state_digest(module: nn.Module) -> bytes:
    """Return a digest of every tensor in a module's state."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor_digest(tensor))
    return digest.digest()


def words(thing: object) -> str:
    """Return a `repr` without memory addresses, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))
