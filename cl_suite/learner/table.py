"""The classifier as a table of keys: scores of all classes are one product.

It follows from the class records alone and is brought up to date when it is used. A new class
costs one row, whatever the number of classes; a change of the base classes, or of a covariance that
all classes share, costs all rows.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from cl_suite.learner.records import ClassRecord, State
from cl_suite.learner.rule import Rule
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.models.heads.gaussian import GaussianHead


class Table:
    """Keys and offsets of the classes of a state, in the state's order.

    Args:
        device: where scores are computed.

    Attributes:
        labels: name of each row.
    """

    def __init__(self, rule: Rule, device: torch.device) -> None:
        self.rule, self.device = rule, device
        self.labels: list[str] = []
        self._records: list[ClassRecord] = []
        self._base: list[ClassRecord] = []
        self._keys = torch.empty(0, rule.width, device=device)
        self._offsets = torch.empty(0, device=device)
        self._state: State | None = None
        self._head = self._on_device()

    @property
    def keys(self) -> Tensor:
        """`(num_classes, width)`."""
        return self._keys[: len(self.labels)]

    @property
    def offsets(self) -> Tensor:
        """`(num_classes,)`."""
        return self._offsets[: len(self.labels)]

    def query(self, features: Tensor) -> Tensor:
        """Return the queries `(n, width)` of features `(n, dim)`, on the table's device."""
        return self._head.query(self._head.transformed(features.to(self.device)))

    def scores(self, queries: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return scores `(n, num_classes)` of queries, before any temperature.

        Args:
            keys: in the place of the table's own.
        """
        keys = self.keys if keys is None else keys
        return torch.addmm(self.offsets, queries, keys.T)

    def follow(self, state: State) -> None:
        """Bring the table up to date."""
        if state is self._state:
            return
        labels, records = list(state.records), list(state.records.values())
        base = [record for record in records if record.is_base]
        other_base = not _same(base, self._base) or self._state is None
        if other_base:
            self.rule.set_base(*_sums(base, self.rule.width))
        if self.rule.pools_moments and state.pooled is not None:
            self.rule.solve(state.pooled, state.freedom)
        if other_base or self.rule.pools_moments:
            self._head = self._on_device()
        # a whitening by all classes changes every row
        whole = other_base or isinstance(self.rule.head, GaussianHead)
        rows = {} if whole else {id(record): row for row, record in enumerate(self._records)}
        self._arrange([rows.get(id(record)) for record in records])
        missing = [row for row, record in enumerate(records) if id(record) not in rows]
        self._write(missing, [records[row] for row in missing])
        self.labels, self._records, self._base, self._state = labels, records, base, state

    def _arrange(self, kept: list[int | None]) -> None:
        """Give the table as many rows as `kept` has, each from the old place that it names."""
        self._resize(len(kept))
        if all(old is None or old == row for row, old in enumerate(kept)):
            return
        order = torch.tensor([old or 0 for old in kept], device=self.device)
        # the whole of the old rows is read before anything is written
        self._keys[: len(kept)] = self._keys[order]
        self._offsets[: len(kept)] = self._offsets[order]

    def _write(self, rows: list[int], records: list[ClassRecord]) -> None:
        base = [(row, r) for row, r in zip(rows, records, strict=True) if r.is_base]
        if base:
            totals, counts = _sums([record for _, record in base], self.rule.width)
            self._set([row for row, _ in base], self.rule.base_vectors(totals, counts), True)
        for row, record in zip(rows, records, strict=True):
            if not record.is_base:
                # one by one: a product's rounding depends on the number of rows
                vectors = self.rule.new_vectors(*_sums([record], self.rule.width))
                self._set([row], vectors, False)

    def _set(self, rows: list[int], vectors: Tensor, is_base: bool) -> None:
        keys, offsets = self.rule.keys(vectors, is_base=is_base)
        self._keys[rows], self._offsets[rows] = keys.to(self._keys), offsets.to(self._offsets)

    def _on_device(self) -> ClassHead:
        # the rule's own head stays on the CPU, where the sums are
        head = self.rule.head
        return head if self.device.type == "cpu" else copy.deepcopy(head).to(self.device)

    def _resize(self, num: int) -> None:
        if num > len(self._keys):
            # by doubling, so adding a class rarely copies the others
            size = max(64, num, 2 * len(self._keys))
            self._keys = _enlarged(self._keys, size)
            self._offsets = _enlarged(self._offsets, size)


def _sums(records: list[ClassRecord], width: int) -> tuple[Tensor, Tensor]:
    if not records:
        return torch.zeros(0, width, dtype=torch.float64), torch.zeros(0)
    totals = torch.stack([record.total for record in records])
    return totals, torch.tensor([record.count for record in records])


def _same(one: list[ClassRecord], other: list[ClassRecord]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _enlarged(rows: Tensor, num: int) -> Tensor:
    larger = rows.new_zeros(num, *rows.shape[1:])
    larger[: len(rows)] = rows
    return larger
