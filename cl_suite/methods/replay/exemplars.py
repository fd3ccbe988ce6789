"""Exemplars: encoded samples kept for later sessions, without access to any other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.transforms import Identity, Transform
from cl_suite.errors import UserError
from cl_suite.methods.replay.encoded import (
    Encoded,
    EncodedSamples,
    damaged,
    encode,
    encode_tensor,
    from_state,
)

Group = Literal["train", "eval"]
Transforms = tuple[Transform, Transform]  # for training, for evaluation
Rows = Sequence[int] | Tensor
Extras = dict[str, Tensor]
TASK = "task"  # name of the extra that holds the task labels of foreign data


class Exemplars:
    """Encoded samples, with the transforms of their source data.

    Each may carry further tensors, the extras: all samples have the same names, and each name has
    one shape. Samples of data whose items end with a task label carry it as the extra `task`.
    Transforms are code and not part of the saved state. After `load_state_dict` they come from the
    next data set passed to `bind`, `append` or `replace`.

    Attributes:
        transforms: for training and evaluation; None until a data set is passed.
    """

    def __init__(self) -> None:
        self.transforms: Transforms | None = None
        self._items: list[Encoded] = []
        self._extras: dict[str, list[Tensor]] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def targets(self) -> list[int]:
        """Class id of each sample."""
        return [item.target for item in self._items]

    @property
    def num_bytes(self) -> int:
        """Bytes of the encoded samples and of their extras."""
        return sum(self.sample_bytes(index) for index in range(len(self)))

    def sample_bytes(self, index: int) -> int:
        """Return the bytes of one sample, extras included."""
        extras = sum(values[index].nbytes for values in self._extras.values())
        return len(self._items[index].payload) + extras

    def bind(self, data: Any) -> None:
        """Use the transforms of an Avalanche data set for the samples.

        Raises:
            UserError: if other transforms are in use.
        """
        if len(data):
            self._encode(data, [0])

    def append(self, data: Any, rows: Rows, extras: Mapping[str, Tensor] | None = None) -> None:
        """Keep samples of an Avalanche data set, before any transform.

        From a data set that the suite did not make, keep the output of its evaluation transform.

        Args:
            data: its items begin with a tensor and a class id.
            rows: `(n,)` places in it.
            extras: `(n, ...)` by name.

        Raises:
            UserError: if its items are not tensors, or other transforms are in use.
            ValueError: if the extras do not match those of the samples already kept.
        """
        given = {**(extras or {}), **_tasks(data, _list(rows))}
        self._check_extras(given, len(rows))
        self._items += self._encode(data, rows)
        for name, values in given.items():
            self._extras.setdefault(name, []).extend(_own(value) for value in values)

    def replace(
        self, slot: int, data: Any, row: int, extras: Mapping[str, Tensor] | None = None
    ) -> None:
        """Replace one sample by another; see `append`.

        Args:
            slot: place of the sample to replace, in `[0, len)`.
            extras: of this sample alone, without the leading dimension.
        """
        given = {name: value[None] for name, value in (extras or {}).items()}
        given |= _tasks(data, [row])
        self._check_extras(given, 1)
        if not 0 <= slot < len(self):
            raise ValueError(f"slot {slot} does not exist; there are {len(self)} exemplars")
        [self._items[slot]] = self._encode(data, [row])
        self._write_extras([slot], given)

    def set_extras(self, slots: Sequence[int], extras: Mapping[str, Tensor]) -> None:
        """Replace the extras of some samples.

        Args:
            slots: places of the samples, in `[0, len)`.
            extras: `(n, ...)` by name.

        Raises:
            ValueError: if the extras do not match those of the samples.
        """
        if unknown := sorted(set(extras) - set(self._extras)):
            raise ValueError(f"the kept samples have no extra '{unknown[0]}'")
        self._check_shapes(extras, len(slots))
        self._write_extras(slots, extras)

    def keep(self, indices: Rows) -> None:
        """Keep only these samples, in this order."""
        places = _list(indices)
        self._items = [self._items[i] for i in places]
        self._extras = {name: [each[i] for i in places] for name, each in self._extras.items()}

    def dataset(self) -> Any:
        """Return an Avalanche data set of the samples, with `sample_id` -1.

        Tensors of one shape are decoded, so batches can be sliced from them. Image files stay
        encoded, because those of the sessions are not held in memory either.
        """
        from cl_suite.avalanche import api

        if not len(self):
            return api.empty_dataset()
        train, evaluation = self._bound()
        samples: Samples = EncodedSamples(self._items)
        forms = {item.form for item in self._items}
        if len({(form.dtype, form.shape) for form in forms}) == 1 and _in_memory(forms):
            samples = TensorSamples(
                torch.stack([item.decode() for item in self._items]), self.targets
            )
        tasks = [int(each) for each in self._extras[TASK]] if TASK in self._extras else None
        return api.dataset(samples, train, evaluation, [-1] * len(self), tasks)

    def batch(self, indices: Rows, group: Group = "train") -> tuple[Tensor, Tensor, Extras]:
        """Return transformed inputs `(n, ...)`, class ids `(n,)` and extras `(n, ...)`.

        Args:
            indices: which samples.
            group: which transform; a random one draws from torch's global generator.

        Raises:
            ValueError: if `indices` is empty, or there are no transforms yet.
        """
        places = _list(indices)
        if not places:
            raise ValueError("a batch needs at least one exemplar, got no indices; pass some")
        transform = self._bound()[0 if group == "train" else 1]
        inputs = transformed([self._items[i].decode() for i in places], transform)
        labels = torch.tensor([self._items[i].target for i in places])
        extras = {k: torch.stack([each[i] for i in places]) for k, each in self._extras.items()}
        return inputs, labels, extras

    def state_dict(self) -> dict[str, Any]:
        """Return the samples as tensors and plain values, without their transforms."""
        extras = {name: torch.stack(each) for name, each in self._extras.items() if each}
        return {**EncodedSamples(self._items).state_dict(), "extras": extras}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`; transforms in use stay.

        Raises:
            UserError: if the state is none, or contradicts itself.
        """
        items = from_state(state).items
        extras = state.get("extras", {})
        for name, values in extras.items():
            if not isinstance(values, Tensor) or len(values) != len(items):
                raise damaged(f"extra '{name}' is not one value for each of {len(items)} samples")
        self._items = items
        self._extras = {name: [_own(v) for v in values] for name, values in extras.items()}

    def _encode(self, data: Any, rows: Rows) -> list[Encoded]:
        from cl_suite.avalanche import internals

        places = _list(rows)
        if not places:
            return []
        found = internals.raw_rows(data, places)
        if found is None:
            self._take_transforms((Identity(), Identity()))
            return [_encode_foreign(data, row) for row in places]
        samples, transforms = found
        self._take_transforms(transforms)
        return [encode(each, row) for each, row in samples]

    def _take_transforms(self, transforms: Transforms) -> None:
        if self.transforms is not None and self.transforms != transforms:
            raise UserError(
                f"the kept samples have the transforms {self.transforms}, the data {transforms}; "
                "use the same transforms in all sessions"
            )
        self.transforms = transforms

    def _bound(self) -> Transforms:
        if self.transforms is None:
            raise ValueError("the kept samples have no transforms yet; call bind(data set) first")
        return self.transforms

    def _check_extras(self, extras: Mapping[str, Tensor], num: int) -> None:
        if len(self) and set(extras) != set(self._extras):
            raise ValueError(
                f"the kept samples have the extras {sorted(self._extras)}, the new ones "
                f"{sorted(extras)}; pass the same for all"
            )
        self._check_shapes(extras, num)

    def _check_shapes(self, extras: Mapping[str, Tensor], num: int) -> None:
        for name, values in extras.items():
            known = self._extras.get(name)
            wanted = (num, *(known[0].shape if known else values.shape[1:]))
            if values.shape != wanted:
                raise ValueError(
                    f"extra '{name}' has shape {tuple(values.shape)} instead of {wanted}; pass one "
                    "row per sample, all of one shape"
                )

    def _write_extras(self, places: Sequence[int], extras: Mapping[str, Tensor]) -> None:
        for name, values in extras.items():
            for place, value in zip(places, values, strict=True):
                self._extras[name][place] = _own(value)


def transformed(raw: Sequence[Tensor], transform: Transform) -> Tensor:
    """Return raw samples as the model's input `(n, ...)`, in one batch if possible."""
    if transform.batched and len({sample.shape for sample in raw}) == 1:
        return transform(torch.stack(list(raw)))
    return torch.stack([transform(sample) for sample in raw])


def _encode_foreign(data: Any, row: int) -> Encoded:
    sample, target, *_ = data.eval()[row]
    if not isinstance(sample, Tensor):
        raise UserError(
            f"the data set's samples are of type {type(sample).__name__}, which cannot be kept; "
            "add an eval transform that makes tensors"
        )
    return encode_tensor(sample, int(target))


def _tasks(data: Any, rows: Sequence[int]) -> Extras:
    from cl_suite.avalanche import api

    labels = api.task_labels(data)
    return {} if labels is None else {TASK: torch.tensor([int(labels[row]) for row in rows])}


def _in_memory(forms: set[Any]) -> bool:
    return all(form.kind != "file" for form in forms)


def _list(rows: Rows) -> list[int]:
    found: list[int] = rows.tolist() if isinstance(rows, Tensor) else [int(row) for row in rows]
    return found


def _own(value: Tensor) -> Tensor:
    return value.detach().cpu().clone()
