"""Fine-tune some parameters of a network on kept samples and leave all others unchanged."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.methods.replay.logits import logit_distance
from cl_suite.models.features import classifier_of
from cl_suite.models.modes import batchnorms
from cl_suite.plugin import Template

Groups = Literal["bn+fc", "bn+fc+conv1", "fc", "all", "sensitive"]
Batch = tuple[Tensor, Tensor, Tensor | None]  # inputs, class ids, kept logits or None
SGD_RATE = 0.05  # beside a session that another optimiser trains
NORMS = (nn.LayerNorm, nn.GroupNorm)


def named_group(model: nn.Module, groups: Groups) -> set[str]:
    """Return the names of a preset group's tensors in the network's state.

    Args:
        groups: bn, fc and conv1 joined by `+`, or all. bn is weights, biases and running statistics
            of BatchNorm (without BatchNorm, other normalising layers), fc the classifier, conv1
            the first convolution. Frozen parts, statistics included, are in no group.
    """
    frozen = _frozen(model)
    if groups == "all":
        return {name for name, _ in _floats(model)} - frozen
    wanted: set[nn.Module] = set()
    parts = groups.split("+")
    if "bn" in parts:
        wanted |= set(batchnorms(model) or [m for m in model.modules() if isinstance(m, NORMS)])
    if "fc" in parts:
        wanted |= set(classifier_of(model).modules())
    if "conv1" in parts:
        convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        wanted |= set([m for m in model.modules() if isinstance(m, convolutions)][:1])
    prefixes = [name for name, part in model.named_modules() if part in wanted]
    found = {name for name, _ in _floats(model) if name.rpartition(".")[0] in prefixes}
    return found - frozen


def phase_steps(num_steps: int, phases: int) -> list[int]:
    """Return the steps, of `num_steps`, after which a phase runs; the last is at the end.

    Example:
        >>> phase_steps(7, 3)
        [3, 5, 7]
    """
    return [math.ceil((j + 1) * num_steps / phases) for j in range(phases)] if num_steps else []


def balanced_rows(labels: Sequence[int], num: int) -> list[int]:
    """Return `num` places; for each, first a class is drawn, then one of its samples."""
    of_class: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        of_class.setdefault(label, []).append(place)
    classes = sorted(of_class)
    drawn = torch.randint(len(classes), (num,)).tolist()
    shares = torch.rand(num).tolist()
    rows = [of_class[classes[c]] for c in drawn]
    return [own[int(share * len(own))] for own, share in zip(rows, shares, strict=True)]


def starting_rate(template: Template, given: float | None) -> float:
    """Return the rate at which fine-tuning starts: the one given, else the session's initial one.

    A session that another optimiser than SGD trains has a rate that means something else.
    """
    if given is not None:
        return given
    if not isinstance(template.optimizer, torch.optim.SGD):
        return SGD_RATE
    group = template.optimizer.param_groups[0]
    # not the scheduled rate, which is almost zero at the end
    return float(group.get("initial_lr", group["lr"]))


def tune(
    model: nn.Module,
    names: Collection[str],
    draw: Callable[[], Batch],
    *,
    iterations: int,
    lr: float,
    momentum: float = 0.0,
    distillation: float = 0.0,
    centred: bool = False,
) -> None:
    """Take SGD steps on some tensors of a network.

    The rate falls to zero along a cosine. BatchNorm layers with a named tensor are in train mode,
    so their statistics follow the samples. The rest of the network is in eval mode. Steps end if
    the loss is not finite.

    Args:
        names: names of tensors in the network's state, running statistics included.
        draw: returns a batch.
        distillation: weight of `logit_distance`, added to the cross-entropy.
        centred: whether that distance is, as `logit_distance` says.
    """
    parameters = [p for name, p in model.named_parameters() if name in names]
    if not parameters:
        return
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=momentum)
    with _only(model, names):
        for step in range(iterations):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 + math.cos(math.pi * step / iterations)) / 2
            inputs, labels, kept = draw()
            logits = model(inputs)
            loss = F.cross_entropy(logits, labels)
            if distillation and kept is not None:
                loss = loss + distillation * logit_distance(logits, kept, centred=centred)
            if not loss.isfinite():
                if step:  # else the session's own training diverged, and said so
                    warnings.warn(
                        f"fine-tuning diverged in step {step} at learning rate {lr:g} and stops; "
                        "lower it",
                        stacklevel=2,
                    )
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # no types there
            optimizer.step()
    optimizer.zero_grad()


@contextlib.contextmanager
def _only(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Let gradients and statistics reach only the named tensors; restore everything afterwards."""
    modes = {part: part.training for part in model.modules()}
    wanted = {name: p.requires_grad for name, p in model.named_parameters()}
    owners = {name.rpartition(".")[0] for name in names}
    norms = set(batchnorms(model))
    try:
        model.eval()
        for name, part in model.named_modules():
            if name in owners and part in norms:
                part.train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(wanted[name])


def check_groups(groups: str) -> None:
    """Raise `UserError` if the group is unknown."""
    known = get_args(Groups)
    if groups not in known:
        raise UserError(
            f"{option('strategy.groups')} must be one of {', '.join(known)}, got '{groups}'"
        )


def _frozen(model: nn.Module) -> set[str]:
    """Return the names of frozen parameters, and of the buffers of fully frozen layers."""
    names: set[str] = set()
    for prefix, part in model.named_modules():
        own = dict(part.named_parameters(recurse=False))
        still = [name for name, parameter in own.items() if not parameter.requires_grad]
        if own and len(still) == len(own):
            still += [name for name, _ in part.named_buffers(recurse=False)]
        names |= {f"{prefix}.{name}" if prefix else name for name in still}
    return names


def _floats(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            yield name, tensor
