"""Replay buffers: one with an equal quota per class, and one that is a uniform reservoir.

None of Avalanche's storage policies (`avalanche.training.storage_policy`) fits:
    - `ParametricBuffer` reorders its samples with each session's network, and gives the remainder
      of a division to some classes. Here a class is ordered while its data is available, and its
      list is shortened later; for the orders see `selection`.
    - `ClassBalancedBuffer` has the same quotas, but only chooses at random.
    - `ReservoirSamplingBuffer` keeps the samples with the largest random keys. Their distribution
      is that of algorithm R, which is used here, but they have no fixed slots.
All of them hold views of the sessions' data sets. Here the kept samples own their bytes, so these
can be counted and limited, and they may carry further tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.methods.replay.budget import Budget, check_budget, parse_budget
from cl_suite.methods.replay.exemplars import Exemplars, Extras, Group, Rows
from cl_suite.methods.replay.selection import Selection, check_selection, interleave, ordered

__all__ = [
    "Budget",
    "QuotaBuffer",
    "ReservoirBuffer",
    "Selection",
    "check_budget",
    "check_selection",
    "parse_budget",
]


class _Buffer:
    """What both buffers say of the samples that they keep."""

    exemplars: Exemplars

    @property
    def num_samples(self) -> int:
        """Samples kept."""
        return len(self.exemplars)

    @property
    def num_bytes(self) -> int:
        """Bytes kept, extras included."""
        return self.exemplars.num_bytes

    def bind(self, data: Any) -> None:
        """Use a data set's transforms for the samples; see `Exemplars.bind`."""
        self.exemplars.bind(data)


class QuotaBuffer(_Buffer):
    """Splits one budget into equal quotas per class; filled at the end of each session.

    A class's samples are a list, best first. When the quota shrinks, the first ones stay. If a
    class appears again, every part of its list mixes old and new samples in the proportion in which
    they were seen.

    Args:
        budget: see `parse_budget`. If it is in bytes, the quotas are in bytes too.
        selection: random; closest to the class mean; or herding (Rebuffi et al., CVPR 2017), whose
            first samples have a mean near the class mean, with features of unit length.
        fixed_classes: share the budget among this many classes from the first session on; None to
            share among the classes seen so far.

    Attributes:
        exemplars: kept samples, by ascending class id.
        num_seen: training samples seen, by class id.
    """

    def __init__(
        self,
        budget: str | int,
        selection: Selection = "random",
        fixed_classes: int | None = None,
    ) -> None:
        check_selection(selection, fixed_classes)
        self.budget = parse_budget(budget)
        self.selection = selection
        self.fixed_classes = fixed_classes
        self.exemplars = Exemplars()
        self.num_seen: dict[int, int] = {}

    def quota(self, data: Any = None) -> int:
        """Return the quota of each class, in samples or bytes, after `data` is seen too.

        Raises:
            UserError: if that is less than one sample.
        """
        seen = self._seen_with([] if data is None else _labels(data))
        return self.budget.quota(sum(seen.values()), len(seen), self.fixed_classes)

    def check(self, data: Any) -> None:
        """Raise `UserError`, before training, if `update` will leave a class without a sample."""
        quota = self.quota(data)
        if self.budget.unit != "bytes":
            return
        trial = Exemplars()
        fits = {
            class_id
            for place, class_id in enumerate(self.exemplars.targets)
            if self.exemplars.sample_bytes(place) <= quota
        }
        for row, class_id in enumerate(_labels(data)):
            if class_id not in fits:
                trial.append(data, [row])
                if trial.sample_bytes(len(trial) - 1) <= quota:
                    fits.add(class_id)
        classes = self._seen_with(_labels(data))
        if none := set(classes) - fits:
            raise self._nothing_fits(quota, min(none), len(classes))

    def update(self, data: Any, features_and_labels: tuple[Tensor, Tensor] | None = None) -> None:
        """Add samples of a finished session and drop others.

        Args:
            data: the session's Avalanche data set.
            features_and_labels: `(n, dim)` and `(n,)`, in its order; unused if random.

        Raises:
            UserError: if a class would be left without a sample.
            ValueError: if features are needed and not given.
        """
        if features_and_labels is None:
            features, labels = None, _labels(data)
        else:
            features, labels = features_and_labels[0].detach(), features_and_labels[1].tolist()
        if not labels:
            return
        if features is None and self.selection != "random":
            raise ValueError(f"selection '{self.selection}' needs features; pass them with labels")
        seen = self._seen_with(labels)
        quota = self.budget.quota(sum(seen.values()), len(seen), self.fixed_classes)
        limit = None if self.budget.unit == "bytes" else quota
        old, new = _places(self.exemplars.targets), _places(labels)
        kept: list[int] = []
        for class_id in sorted(seen):
            rows = new.get(class_id, [])
            chosen = self._ordered(rows, features, limit)
            known = old.get(class_id, [])
            weights = self.num_seen.get(class_id, 0), len(rows)
            candidates = interleave(known, chosen, weights)
            kept += self._fill(data, quota, candidates, class_id, len(seen))
        self.exemplars.keep(kept)
        self.num_seen = seen

    def state_dict(self) -> dict[str, Any]:
        """Return the kept samples as tensors and plain values."""
        return {"exemplars": self.exemplars.state_dict(), "num_seen": dict(self.num_seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`; call `bind` if there are no transforms yet."""
        self.exemplars.load_state_dict(state["exemplars"])
        self.num_seen = {int(c): int(n) for c, n in state["num_seen"].items()}

    def _seen_with(self, labels: Sequence[int]) -> dict[int, int]:
        seen = dict(self.num_seen)
        for label in labels:
            seen[label] = seen.get(label, 0) + 1
        return seen

    def _ordered(self, rows: list[int], features: Tensor | None, limit: int | None) -> list[int]:
        limit = len(rows) if limit is None else min(limit, len(rows))
        if self.selection == "random":
            order = torch.randperm(len(rows))[:limit]
        else:
            assert features is not None, "checked in update"
            order = ordered(features[rows], self.selection, limit)
        return [rows[i] for i in order.tolist()]

    def _fill(
        self,
        data: Any,
        quota: int,
        candidates: Iterator[tuple[bool, int]],
        class_id: int,
        num_classes: int,
    ) -> list[int]:
        """Return the places in `exemplars` of the first candidates that fit into the quota."""
        kept: list[int] = []
        used = 0
        for is_new, place in candidates:
            if self.budget.unit != "bytes" and used == quota:
                break
            if is_new:
                self.exemplars.append(data, [place])
                place = len(self.exemplars) - 1
            cost = self.exemplars.sample_bytes(place) if self.budget.unit == "bytes" else 1
            if cost > quota:
                continue  # this sample alone is too large: try another one
            if used + cost > quota:
                break
            kept.append(place)
            used += cost
        if not kept:
            raise self._nothing_fits(quota, class_id, num_classes)
        return kept

    def _nothing_fits(self, quota: int, class_id: int, num_classes: int) -> UserError:
        return self.budget.too_small(
            f"{quota} bytes per class, too few for any sample of class {class_id}",
            self.fixed_classes or num_classes,
        )


class ReservoirBuffer(_Buffer):
    """A uniform sample of everything seen, in one pass (Vitter, 1985, algorithm R).

    Item `n`, counted from 0, goes to slot `n` while slots are free. Later a number from 0 to `n` is
    drawn uniformly; if there is such a slot, the item replaces its sample.

    Args:
        budget: a number of samples.

    Attributes:
        exemplars: kept samples, by slot.
        num_seen: items seen.
    """

    def __init__(self, budget: str | int) -> None:
        parsed = parse_budget(budget)
        if parsed.unit != "samples":
            raise UserError(
                f"buffer '{budget}' is not a number of samples, which a reservoir needs; pass one "
                "such as 500"
            )
        self.capacity = int(parsed.amount)
        self.exemplars = Exemplars()
        self.num_seen = 0

    def insert(
        self, data: Any, rows: Rows, extras: Mapping[str, Tensor] | None = None
    ) -> dict[int, int]:
        """Offer samples of an Avalanche data set to the reservoir; see `Exemplars.append`.

        Returns:
            The row that each slot has got.
        """
        taken: dict[int, int] = {}  # slot -> position in rows: only the last in a slot is encoded
        for position in range(len(rows)):
            slot = self._next_slot()
            if slot < self.capacity:
                taken[slot] = position
        for slot, position in sorted(taken.items()):
            own = {name: values[position] for name, values in (extras or {}).items()}
            self._write(slot, data, int(rows[position]), own)
        return {slot: int(rows[position]) for slot, position in taken.items()}

    def place(self, places: list[int], rows: Sequence[int]) -> None:
        """Offer samples without encoding any yet; `take` follows at the end of a session.

        Args:
            places: where the sample of each slot is; changed.
            rows: places of the samples that are offered.
        """
        for row in rows:
            slot = self._next_slot()
            if slot == len(places):
                places.append(row)
            elif slot < self.capacity:
                places[slot] = row

    def take(self, data: Any, places: Sequence[int], first: int) -> None:
        """Keep the samples that `place` has chosen.

        Args:
            data: an Avalanche data set.
            places: rows in it by slot; those from `first` on are samples that are kept already.
        """
        for slot, row in enumerate(places):
            if row < first:
                self._write(slot, data, row, {})

    def draw_rows(self, num: int) -> Tensor:
        """Return `num` slots (all if there are fewer), drawn without replacement."""
        return torch.randperm(len(self.exemplars))[:num]

    def draw(self, num: int, group: Group = "train") -> tuple[Tensor, Tensor, Extras]:
        """Draw samples; return their inputs, class ids and extras (see `Exemplars.batch`).

        Raises:
            ValueError: if no sample is kept yet.
        """
        return self.exemplars.batch(self.draw_rows(num), group)

    def state_dict(self) -> dict[str, Any]:
        """Return the kept samples as tensors and plain values."""
        return {"exemplars": self.exemplars.state_dict(), "num_seen": self.num_seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`; call `bind` if there are no transforms yet."""
        self.exemplars.load_state_dict(state["exemplars"])
        self.num_seen = int(state["num_seen"])

    def _write(self, slot: int, data: Any, row: int, extras: Extras) -> None:
        if slot < len(self.exemplars):
            self.exemplars.replace(slot, data, row, extras)
        else:
            self.exemplars.append(data, [row], {k: v[None] for k, v in extras.items()})

    def _next_slot(self) -> int:
        number = self.num_seen
        self.num_seen += 1
        return number if number < self.capacity else int(torch.randint(number + 1, ()))


def _labels(data: Any) -> list[int]:
    return [int(target) for target in data.targets]


def _places(labels: Sequence[int]) -> dict[int, list[int]]:
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    return places
