"""Layers that look at the whole batch or draw random numbers, on own rows as on all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from cl_suite.distributed import group
from cl_suite.distributed.rows import own_share


class AsOne(TorchFunctionMode):
    """Lets BatchNorm and dropout act on own rows as one process would let them act on the batch.

    Args:
        num_rows: rows of the whole batch.
        own_rows: rows of this process.
        device: of the batch.
        sync_batchnorm: whether training BatchNorm layers use the statistics of the whole batch.
    """

    def __init__(
        self, num_rows: int, own_rows: int, device: torch.device, *, sync_batchnorm: bool
    ) -> None:
        super().__init__()
        self.num_rows, self.own_rows = num_rows, own_rows
        self.device = device
        self.sync_batchnorm = sync_batchnorm
        self._strange = False
        self._first = self._state = draw_state(device)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and self.sync_batchnorm:
            return _batch_norm(*args, **kwargs)
        if func is F.dropout and self._is_of_rows(args[0]):
            return self._dropout(*args, **kwargs)
        if func is torch.Tensor.bernoulli_ and self._is_of_rows(args[0]):
            p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if isinstance(p, float) and "generator" not in kwargs:
                return args[0].copy_(self._drawn(args[0], lambda whole: whole.bernoulli_(p)))
        return func(*args, **kwargs)

    def drew_apart(self) -> bool:
        """Return whether any process drew numbers in another way; all get the same answer."""
        self._look()
        if draw_state(self.device) == self._first:
            return False  # no process drew
        return bool(group.add_up(torch.tensor([float(self._strange)])))

    def _look(self) -> None:
        """Note whether numbers were drawn since this object last drew some."""
        self._strange |= draw_state(self.device) != self._state

    def _is_of_rows(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dim() > 0 and len(x) == self.own_rows

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p in (0.0, 1.0):
            return F.dropout(input, p, training, inplace)
        mask = self._drawn(input, lambda whole: whole.bernoulli_(1 - p).div_(1 - p))
        return input.mul_(mask) if inplace else input * mask

    def _drawn(self, own: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw numbers for the whole batch; return those of the own rows."""
        self._look()
        form = torch.contiguous_format
        if own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last):
            form = torch.channels_last  # numbers are drawn in the order of memory
        shape = (self.num_rows, *own.shape[1:])
        drawn = torch.empty(shape, dtype=own.dtype, device=own.device, memory_format=form)
        mask = draw(drawn)[own_share(self.num_rows)]
        self._state = draw_state(self.device)
        return mask


def draw_state(device: torch.device) -> bytes:
    """Return the state of the global generators that a pass may use: equal if nothing was drawn."""
    state = torch.get_rng_state().numpy().tobytes()
    if device.type == "cuda":
        state += torch.cuda.get_rng_state(device).numpy().tobytes()
    return state


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    normal: Tensor
    normal, mean, variance, count = _BatchNorm.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean), momentum)
        # torch keeps the unbiased variance
        running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
    return normal


class _BatchNorm(Function):
    """BatchNorm by the statistics of all processes' rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, bias: Any, eps: float) -> Any:
        # sums over half precision would lose digits
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        mean, variance = torch.batch_norm_update_stats(wide, None, None, 0.0)
        own = x.numel() // x.shape[1]
        parts = torch.stack(group.gathered(torch.cat([mean, variance, mean.new_tensor([own])])))
        counts = parts[:, -1:]
        means, variances = parts[:, :-1].chunk(2, dim=1)
        count = float(counts.sum())
        if count == 1:
            raise ValueError("BatchNorm cannot train on a single value per channel")
        mean = (means * counts).sum(0) / count
        variance = ((variances + (means - mean) ** 2) * counts).sum(0) / count
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        ctx.mark_non_differentiable(mean, variance)
        normal = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        return normal, mean, variance, count

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # no types there
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Any, Any, None]:
        x, weight, mean, variance = ctx.saved_tensors
        known = torch.ones_like(mean) if weight is None else weight
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, known, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = group.add_up(torch.stack([of_bias, of_weight]))
        scale = (variance + ctx.eps).rsqrt()
        factor = scale if weight is None else scale * weight
        # with u = (x - mean) scale: factor (gradient - sums[0] / count - u sums[1] / count)
        slope = -factor * sums[1] * scale / ctx.count
        shift = -factor * sums[0] / ctx.count - slope * mean
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        # the functional form of some versions of PyTorch refuses an epsilon of 0
        use_cudnn = torch.backends.cudnn.enabled
        found = torch.batch_norm(gradient, factor, shift, zero, one, False, 0.0, 0.0, use_cudnn)
        shape = [1, -1] + [1] * (x.dim() - 2)
        found.addcmul_(x, slope.to(x.dtype).view(shape))
        given = (None, None) if weight is None else (of_weight, of_bias)
        return found, *given, None
