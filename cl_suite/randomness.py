"""The random states of a run: seeded once, saved in every checkpoint."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices) with a number from 0 to 2**32 - 1."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def use_repeatable_kernels(device: str) -> None:
    """Let an accelerator give the same bits at each repetition, with a warning if it cannot.

    Convolutions in float32 are then computed in float32, as matrix products are; by default CUDA
    rounds their inputs to ten bits (TF32).
    """
    if device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # where PyTorch is only to warn, this kernel's backward pass adds up in any order
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cudnn.allow_tf32 = False


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global generator inside the block, then restore their states."""
    before = random_state()
    seed_everything(seed)
    try:
        yield
    finally:
        set_random_state(before)


@contextlib.contextmanager
def draws_apart() -> Iterator[None]:
    """Restore the CPU's global generators after the block, whose draws leave no trace.

    Unlike `seeded` it leaves all other devices alone.
    """
    python, numpy, state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(state)


def seed_draws(seed: bytes, *places: int) -> None:
    """Seed the CPU's global generators from a key; cheap enough for each sample.

    Args:
        seed: common to all keys of a pass.
        places: the key, such as a sample's place.
    """
    key = seed + b"".join(place.to_bytes(8) for place in places)
    number = int.from_bytes(hashlib.sha256(key).digest()[:8])
    random.seed(number)
    np.random.seed(number % 2**32)
    # not torch.manual_seed: it seeds the accelerators too
    torch.default_generator.manual_seed(number)


def random_state() -> dict[str, Any]:
    """Return the state of every global generator, as tensors and plain values."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), np.asarray(keys), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
