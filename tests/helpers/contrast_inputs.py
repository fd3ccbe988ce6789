"""Inputs for the tests of contrastive losses, and each loss as a function of two views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.losses.ascl import ascl_loss
from cl_suite.losses.class_mean import class_mean_loss
from cl_suite.losses.cwcl import cwcl_loss
from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.decoupled_uniformity import decoupled_uniformity_loss
from cl_suite.losses.fassl import fassl_loss
from cl_suite.losses.gml import gml_loss
from cl_suite.losses.info_nce import clip_loss, info_nce_loss
from cl_suite.losses.macl import macl_loss
from cl_suite.losses.mcl import mcl_loss
from cl_suite.losses.moco import dual_moco_loss, moco_loss
from cl_suite.losses.nspt import multimodal_loss, nspt_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.sbcl import sbcl_loss
from cl_suite.losses.supcon import supcon_loss
from cl_suite.losses.sycon import cassle_loss, sycon_loss, sycon_moco_loss


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# unit rows worked with by hand; the cosines of the pairs of Z1 and Z2 are 0.8, 1, 0.6, 0.96
Z1 = rows((1, 0), (0, 1), (0.6, 0.8), (-0.8, 0.6))
Z2 = rows((0.8, 0.6), (0, 1), (1, 0), (-0.6, 0.8))
Z3 = rows((0.6, -0.8), (-0.6, 0.8), (0.8, 0.6), (0, -1))
QUEUE = rows((0, -1), (0.8, -0.6), (-1, 0))
LABELS = torch.tensor([0, 0, 1, 1])


@dataclass
class State:
    """What losses are given beside two views, of `batch` samples in `dim` dimensions."""

    labels: Tensor  # (batch,)
    groups: Tensor  # (batch,)
    frozen: Tensor  # (batch, 3)
    queue: Tensor  # (5, dim)
    queue_labels: Tensor  # (5,)
    extra: Tensor  # (batch, 2, dim)

    def permuted(self, order: Tensor) -> State:
        names = ("labels", "groups", "frozen", "extra")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    def rotated(self, matrix: Tensor) -> State:
        return replace(self, queue=self.queue @ matrix, extra=self.extra @ matrix)

    def to(self, dtype: torch.dtype) -> State:
        names = ("frozen", "queue", "extra")
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names})


def draw(batch: int = 6, dim: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, State]:
    """Return two random views and a state; labels 0, 0, 1, 1, 2, 2, ..., groups of three."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    numbers = torch.arange(batch)
    state = State(
        labels=numbers // 2,
        groups=numbers // 3,
        frozen=normal(batch, 3),
        queue=F.normalize(normal(5, dim)),
        queue_labels=torch.arange(5) % 3,
        extra=normal(batch, 2, dim),
    )
    first = normal(batch, dim)
    return first, first + 0.5 * normal(batch, dim), state


Loss = Callable[..., Tensor]  # (z1, z2, state, **options)


def plain(loss: Callable[..., Tensor], **fixed: Any) -> Loss:
    return lambda z1, z2, state, **options: loss(z1, z2, **fixed, **options)


def stateful(loss: Callable[..., Tensor], *names: str, **fixed: Any) -> Loss:
    """Give the state's fields to the loss; `extra_negatives=extra` renames one."""

    def call(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
        pairs = [name.partition("=")[::2] for name in names]
        given = {name: getattr(state, field or name) for name, field in pairs}
        return loss(z1, z2, **given, **fixed, **options)

    return call


def dual(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    return dual_moco_loss(z1, z2, teacher1=z1, teacher2=z2, queue=state.queue, **options)


def with_past(loss: Callable[..., Tensor], **fixed: Any) -> Loss:
    """Give the state's extra rows to the loss as what a network of the past makes of the views."""

    def call(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
        past1, past2 = state.extra.unbind(dim=1)
        return loss(z1, z2, past1=past1, past2=past2, **fixed, **options)

    return call


def sycon(z1: Tensor, z2: Tensor, *, past1: Tensor, past2: Tensor, **options: Any) -> Tensor:
    """The embeddings themselves are the predictions."""
    return sycon_loss(z1, z2, predicted1=z1, predicted2=z2, past1=past1, past2=past2, **options)


def sycon_moco(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    past1, past_queue = state.extra[:, 0], state.queue[:2]
    return sycon_moco_loss(
        z1,
        z2,
        predicted1=z1,
        past1=past1,
        queue=state.queue,
        past_queue=past_queue,
        **options,
    )


def subclassed(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    """The groups are the classes, cut by the labels."""
    parts = 10 * state.groups + state.labels
    return sbcl_loss(z1, z2, labels=state.groups, subclasses=parts, **options)


def weighted(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    return fassl_loss(z1, z2, weight=state.frozen[:, 0].abs(), **options)


def learned_scale(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    """Labels stand for samples, so each has a key of its own in the queue."""
    ids = {"sample_ids": state.labels, "queue_sample_ids": state.queue_labels}
    return gml_loss(
        z1,
        z2,
        labels=state.groups,
        log_temperature=torch.tensor(-0.5),
        queue=state.queue,
        queue_labels=state.queue_labels,
        **ids,
        **options,
    )


def rehearsed(z1: Tensor, z2: Tensor, state: State, **options: Any) -> Tensor:
    """All samples are of earlier classes, as a mean over some would be no mean of the values."""
    everyone = torch.ones_like(state.labels).bool()
    return nspt_loss(z1, z2, labels=state.labels, rehearsal=everyone, **options)


# losses whose second view, a teacher's, gets no gradient
TEACHER: dict[str, Loss] = {
    "moco": stateful(moco_loss, "queue"),
    "moco without queue": stateful(
        lambda z1, z2, queue, **options: moco_loss(z1, z2, queue=queue[:0], **options), "queue"
    ),
    "moco hardest": stateful(moco_loss, "queue", hardest=2),
    "moco with labels": stateful(moco_loss, "queue", "labels", "queue_labels"),
    "ascl": stateful(ascl_loss, "queue", neighbours=2, teacher_temperature=0.5),
    "ascl adaptive_hard": stateful(ascl_loss, "queue", neighbours=2, variant="adaptive_hard"),
    "ascl hard": stateful(ascl_loss, "queue", neighbours=2, variant="hard"),
    "class_mean": stateful(class_mean_loss, "queue", "labels", "queue_labels"),
    "nspt": rehearsed,
    "nspt minus self": partial(rehearsed, denominator="student_all_minus_self"),
    "nspt mixed": partial(rehearsed, denominator="teacher_pos_student_neg"),
    "ntpt": partial(rehearsed, denominator="teacher_all"),
    "sycon moco": sycon_moco,
}
# losses without constants that depend on the embeddings, of which both views learn
TWO_SIDED: dict[str, Loss] = {
    "nt_xent": plain(nt_xent_loss),
    "info_nce": plain(info_nce_loss),
    "info_nce with extra negatives": stateful(info_nce_loss, "extra_negatives=extra"),
    "clip": plain(clip_loss),
    "multimodal": plain(multimodal_loss),
    "supcon": stateful(supcon_loss, "labels"),
    "supcon inside": stateful(supcon_loss, "labels", numerator="logsumexp"),
    "supcon decoupled": stateful(supcon_loss, "labels", decoupled=True),
    "supcon with queue": stateful(supcon_loss, "labels", "queue", "queue_labels"),
    "dcl": plain(dcl_loss),
    "macl plain": plain(macl_loss, alpha=0.0, reweight=False),
    "cwcl": stateful(cwcl_loss, "frozen"),
    "cwcl one way": stateful(cwcl_loss, "frozen", symmetric=False),
    "mcl": stateful(mcl_loss, "groups"),
    "sbcl": subclassed,
    "sbcl plain": partial(subclassed, class_term="plain"),
    "fassl": weighted,
    "cassle": with_past(cassle_loss),
    "sycon": with_past(sycon),
    "sycon whole": with_past(sycon, l2_include_positive=True),
}
# losses with weights or temperatures that depend on the embeddings but carry no gradient
WEIGHTED: dict[str, Loss] = {
    "dclw": plain(dcl_loss, weight_sigma=0.5),
    "macl": plain(macl_loss),
    "dual moco": dual,
}
REDUCING = TWO_SIDED | WEIGHTED | TEACHER
UNIFORMITY: dict[str, Loss] = {"decoupled_uniformity": plain(decoupled_uniformity_loss)}
# a term trains the encoder and another one a temperature, so finite differences see both
TWO_TERMS: dict[str, Loss] = {"gml": learned_scale}
EVERY = REDUCING | UNIFORMITY | TWO_TERMS
