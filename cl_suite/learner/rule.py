"""A strategy's rule applied to class statistics alone, without a stream or a template.

The formulas are the strategies' own (see `cl_suite.methods.head_plugin`). What a base session fixes
once, such as a whitening or a ridge, is the rule's frame; it never changes afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cl_suite import registry
from cl_suite.errors import UserError, suggestion
from cl_suite.features.stats import ClassStats
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead, CosineHead

RULES = ("simple_cil", "prototype", "teen", "teen_whitened", "lda", "ranpac")  # named in messages
FALLBACK = "simple_cil"  # class means, for strategies whose head is trained
GRID = 2.0**32


class Rule:
    """How a classifier follows from class statistics.

    Args:
        name: the strategy's name.
        parameters: the strategy's parameters.
        dim: width of a feature.

    Attributes:
        plugin: the strategy.
        head: its head with the rows of the base classes alone.

    Raises:
        UserError: for a strategy whose classifier does not follow from class statistics.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], dim: int) -> None:
        self.name, self.parameters, self.dim = name, dict(parameters), dim
        self.plugin = plugin = usable_plugin(name, self.parameters)
        self.head: ClassHead = plugin.make_head(dim, 0, 16.0) or CosineHead(dim)
        self.head.requires_grad_(False)
        self._base = _stats(torch.zeros(0, self.width), torch.zeros(0))

    @property
    def needs_base(self) -> bool:
        """Whether the rule means nothing without base classes."""
        return self.plugin.needs_base

    @property
    def pools_moments(self) -> bool:
        """Whether second moments of all classes count."""
        return self.plugin.pools_moments

    @property
    def shrinkage(self) -> float:
        """Share of the mean variance in a whitening, of a rule that whitens."""
        return float(vars(self.plugin)["parameters_"]["shrinkage"])

    @property
    def width(self) -> int:
        """Width of the class sums."""
        return int(self.head.dim)

    def set_up(self, features: Tensor, labels: Tensor) -> None:
        """Fit the frame to the base classes: features `(n, dim)`, labels `(n,)`."""
        self.plugin.set_up(self.head, features, labels)

    def averaged(self, features: Tensor) -> Tensor:
        """Return what class sums are made of, `(n, width)`, float64 on a grid.

        On multiples of 2^-32 sums below 2^21 are exact, so neither their order nor what was
        subtracted leaves a trace. The grid is finer than float32 resolves for values above 0.002.
        """
        # row by row: a product's rounding depends on the number of rows
        rows = [self.plugin.averaged(self.head, row[None]) for row in features]
        if not rows:
            return torch.zeros(0, self.width, dtype=torch.float64)
        return (torch.cat(rows).double().cpu() * GRID).round() / GRID

    def set_base(self, totals: Tensor, counts: Tensor) -> None:
        """Take the base classes' sums `(n, width)` and counts `(n,)`, which calibrate others."""
        self.plugin.set_base(_stats(totals[:0], counts[:0]))
        self._base = _stats(totals, counts)
        vectors = self.plugin.class_vectors(self._base, self.head) if len(totals) else totals
        self.head.keep_first(0)
        # a row's first values are drawn; the user's random state is none of our business
        with torch.random.fork_rng(devices=[]):
            self.head.set_rows(self._base.classes, vectors)
        self.head.requires_grad_(False)
        self.plugin.set_base(self._base)

    def new_vectors(self, totals: Tensor, counts: Tensor) -> Tensor:
        """Return the vectors `(n, width)` of classes after the base session."""
        return self.plugin.class_vectors(_stats(totals, counts), self.head)

    def base_vectors(self, totals: Tensor, counts: Tensor) -> Tensor:
        """Return the vectors `(n, width)` that base classes with these sums would have."""
        try:
            self.plugin.set_base(_stats(totals[:0], counts[:0]))
            return self.plugin.class_vectors(_stats(totals, counts), self.head)
        finally:
            self.plugin.set_base(self._base)

    def keys(self, vectors: Tensor, *, is_base: bool) -> tuple[Tensor, Tensor]:
        """Return the keys `(n, width)` and offsets `(n,)` that queries are scored by."""
        keys, offsets = self.head.keys(vectors.to(self.head.weight))
        return keys, offsets if is_base else offsets + self.plugin.offset

    def query(self, features: Tensor) -> Tensor:
        """Return the queries `(n, width)` of features `(n, dim)`."""
        return self.head.query(self.head.transformed(features))

    def share(self, total: Tensor, count: int, moment: Tensor) -> Tensor:
        """Return what a class adds to the pooled matrix, `(width, width)` in float64.

        Args:
            total: `(width,)` sum.
            moment: `(width, width)` second moment about zero.
        """
        ids, counts = torch.zeros(1, dtype=torch.long), torch.tensor([float(count)]).double()
        stats = ClassStats(ids, total[None], counts, moment[None], kind="full")
        return self.plugin.pooled_share(stats)

    def solve(self, pooled: Tensor, freedom: float) -> None:
        """Fit the head to the pooled matrix; `freedom` is the number of samples less classes."""
        self.plugin.solve(self.head, pooled, freedom)

    def frame(self) -> dict[str, Any]:
        """Return what the base session fixed, as tensors and plain values."""
        fitted = {name: getattr(self.plugin, name) for name in self.plugin.fitted}
        return {"fitted": copy.deepcopy(fitted), "head": _frame_of(self.head)}

    def take_frame(self, plugin: HeadPlugin, head: ClassHead) -> None:
        """Take what a trained strategy and its head have fixed."""
        fitted = {name: getattr(plugin, name) for name in plugin.fitted}
        self.set_frame({"fitted": fitted, "head": _frame_of(head)})

    def set_frame(self, frame: Mapping[str, Any]) -> None:
        """Restore what `frame` returned.

        Raises:
            ValueError: if it does not fit the rule.
        """
        for name in self.plugin.fitted:
            setattr(self.plugin, name, frame["fitted"][name])
        try:
            self.head.load_state_dict({**_rows_of_none(self.head), **frame["head"]})
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[-1].strip()) from error

    def same_as(self, other: Rule) -> bool:
        """Return whether both rules give the same classifier for the same statistics."""
        mine, theirs = self.frame(), other.frame()
        if (self.name, self.dim) != (other.name, other.dim):
            return False
        if vars_of(self.plugin) != vars_of(other.plugin) or mine["fitted"] != theirs["fitted"]:
            return False
        return all(torch.equal(value, theirs["head"][name]) for name, value in mine["head"].items())


def usable_plugin(name: str, parameters: Mapping[str, Any]) -> HeadPlugin:
    """Return the strategy whose classifier follows from class statistics.

    Raises:
        UserError: if it does not, or as `rule_plugin` does.
    """
    if (plugin := rule_plugin(name, parameters)) is not None:
        return plugin
    hint = suggestion(name, RULES)
    raise UserError(
        f"strategy '{name}' with these parameters has no rule that learns from class "
        f"statistics{hint}"
    )


def rule_plugin(name: str, parameters: Mapping[str, Any]) -> HeadPlugin | None:
    """Return the strategy if its classifier follows from class statistics, else None.

    Raises:
        UserError: for an unknown strategy, or parameters that it does not accept.
    """
    cls = registry.get("strategy", name).load()
    if not issubclass(cls, HeadPlugin):
        return None
    try:
        plugin = cls(**parameters)
    except TypeError as error:
        raise UserError(
            f"strategy '{name}' does not accept these parameters ({error}); see its page"
        ) from error
    return plugin if plugin.has_rule else None


def vars_of(plugin: HeadPlugin) -> dict[str, Any]:
    """Return a plugin's parameters."""
    return {name: value for name, value in vars(plugin).items() if not name.endswith("_")}


def _stats(totals: Tensor, counts: Tensor) -> ClassStats:
    return ClassStats(torch.arange(len(totals)), totals, counts.double())


# what changes with the classes, and so is no part of the frame
_ROWS: Sequence[str] = ("weight", "class_ids", "sums", "gram", "inverse", "shared", "is_set")


def _frame_of(head: ClassHead) -> dict[str, Tensor]:
    moving = {*_ROWS, *head.row_tensors}
    return {n: t.detach().cpu().clone() for n, t in head.state_dict().items() if n not in moving}


def _rows_of_none(head: ClassHead) -> dict[str, Tensor]:
    moving = {*_ROWS, *head.row_tensors}
    return {n: t[:0] if t.dim() else t for n, t in head.state_dict().items() if n in moving}
