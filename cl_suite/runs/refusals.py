"""Turns what an operating system, a device or diverged numbers refuse in a run into a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from cl_suite.errors import UserError, os_refusal
from cl_suite.models.classifier import Classifier


@contextlib.contextmanager
def plain_refusals() -> Iterator[None]:
    """Turn a refused file, or too little memory, into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(os_refusal(error)) from error
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        raise UserError(
            "there is too little memory for this run; lower --training.batch_size, "
            "--training.eval_batch_size or the size of the images"
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    # the processor's allocator has no kind of error of its own
    words = ("out of memory", "can't allocate memory", "not enough memory", "storage size")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)


@contextlib.contextmanager
def plain_divergence(model: Classifier, strategy: str) -> Iterator[None]:
    """Turn an error that weights which are not finite have caused into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, ValueError, ArithmeticError) as error:
        is_linear = isinstance(error, torch.linalg.LinAlgError)  # type: ignore[attr-defined]  # not exported
        if not (has_diverged(model) or is_linear):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"strategy '{strategy}' cannot go on, because training has diverged: its numbers are "
            f"too large or not finite ({reason}); lower --training.lr"
        ) from error


@torch.no_grad()
def has_diverged(model: Classifier) -> bool:
    """Return whether a trained weight is not finite."""
    trained = (p for p in model.parameters() if p.requires_grad and p.is_floating_point())
    return not all(bool(p.isfinite().all()) for p in trained)
