"""Lossless compact encoding of raw samples, and many samples saved as one flat tensor.

8-bit images of one or three channels become PNGs, and image files keep their bytes. Everything
else (features, spectrograms) is stored as the bytes of its tensor.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.io import decode_png, encode_png

from cl_suite.data.samples import FileSamples, Samples, read_image
from cl_suite.errors import UserError

PNG_SIGNATURE = (137, 80, 78, 71, 13, 10, 26, 10)
KINDS = ("raw", "png", "file")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (*_INTEGERS, *_FLOATS)}


@dataclass(frozen=True)
class Form:
    """How a sample is encoded, and the type and shape of the decoded tensor.

    Attributes:
        kind: raw, png or file.
        dtype: of the decoded tensor.
        shape: of the decoded tensor; not recorded for an image file.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """One sample: its bytes, uint8 `(num_bytes,)`, their form, and its class id."""

    payload: Tensor
    form: Form
    target: int

    def decode(self) -> Tensor:
        """Return the raw sample."""
        if self.form.kind == "png":
            pixels: Tensor = decode_png(self.payload)
            return pixels
        if self.form.kind == "file":
            # Pillow reads an open file as it reads a path
            return read_image(io.BytesIO(self.payload.numpy().tobytes()))
        # a copy: changes to the result must not reach the kept bytes
        return self.payload.clone().view(DTYPES[self.form.dtype]).reshape(self.form.shape)


def encode(samples: Samples, row: int) -> Encoded:
    """Return a copy of one sample that shares no memory with the others.

    Raises:
        UserError: if its file cannot be read.
    """
    target = int(samples.targets[row])
    if isinstance(samples, EncodedSamples):
        return samples.items[row]
    if isinstance(samples, FileSamples):
        return _encode_file(samples, row)
    return encode_tensor(samples[row][0], target)


def encode_tensor(sample: Tensor, target: int) -> Encoded:
    """Return a raw sample as PNG if it is an 8-bit image, else as its own bytes."""
    sample = sample.detach().cpu().contiguous()
    dtype = str(sample.dtype).removeprefix("torch.")
    shape = tuple(sample.shape)
    is_image = sample.dtype == torch.uint8 and len(shape) == 3 and shape[0] in (1, 3)
    if is_image and min(shape) > 0:
        return Encoded(encode_png(sample), Form("png", dtype, shape), target)
    if dtype not in DTYPES:
        raise UserError(f"a sample of type {dtype} cannot be kept; known: {', '.join(DTYPES)}")
    return Encoded(as_bytes(sample), Form("raw", dtype, shape), target)


def as_bytes(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor's memory, uint8 `(num_bytes,)`."""
    return tensor.reshape(-1).view(torch.uint8).clone()


def _encode_file(samples: FileSamples, row: int) -> Encoded:
    path = samples.paths[row]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"image '{path}' cannot be read ({error.strerror}); restore it, or remove it from "
            "the data"
        ) from error
    payload = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return Encoded(payload, Form("file", "uint8"), samples.targets[row])


class EncodedSamples:
    """Encoded samples that are decoded on access."""

    def __init__(self, items: Sequence[Encoded] = ()) -> None:
        self.items = list(items)
        self.targets = [item.target for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.items[index].decode(), self.targets[index]

    def select(self, indices: Sequence[int]) -> EncodedSamples:
        return EncodedSamples([self.items[i] for i in indices])

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        rows = range(len(self)) if indices is None else indices
        return sum(len(self.items[i].payload) for i in rows)

    def digest(self, index: int) -> bytes:
        item = self.items[index]
        content = item.payload.numpy().tobytes() + repr(item.form).encode()
        return hashlib.sha256(content).digest() + str(item.target).encode()

    def state_dict(self) -> dict[str, Any]:
        """Return one flat tensor of bytes, and where each sample lies in it."""
        forms = sorted({item.form for item in self.items}, key=repr)
        number = {form: i for i, form in enumerate(forms)}
        sizes = [len(item.payload) for item in self.items]
        none = torch.empty(0, dtype=torch.uint8)
        return {
            "payload": torch.cat([none, *(item.payload for item in self.items)]),
            "offsets": torch.tensor([0, *sizes], dtype=torch.int64).cumsum(0),
            "forms": [[form.kind, form.dtype, list(form.shape)] for form in forms],
            "form_of": torch.tensor([number[i.form] for i in self.items], dtype=torch.int64),
            "targets": torch.tensor(self.targets, dtype=torch.int64),
        }


def from_state(state: Mapping[str, Any]) -> EncodedSamples:
    """Return the samples that `EncodedSamples.state_dict` saved.

    Raises:
        UserError: if the state is incomplete or inconsistent.
    """
    if missing := {"payload", "offsets", "forms", "form_of", "targets"} - set(state):
        raise damaged(f"'{min(missing)}' is missing")
    payload = _vector(state, "payload", torch.uint8)
    offsets, form_of, targets = (
        _vector(state, name, torch.int64) for name in ("offsets", "form_of", "targets")
    )
    num = len(targets)
    if len(form_of) != num or len(offsets) != num + 1:
        raise damaged(f"{num} class ids, {len(form_of)} forms and {len(offsets)} offsets")
    forms = [_form(entry) for entry in state["forms"]]
    if num and not 0 <= int(form_of.min()) <= int(form_of.max()) < len(forms):
        raise damaged(f"a form number beyond the {len(forms)} forms")
    sizes = offsets.diff()
    if int(offsets[0]) != 0 or int(offsets[-1]) != len(payload) or bool((sizes < 0).any()):
        raise damaged("its offsets do not match its bytes")
    items = [
        Encoded(part.clone(), forms[form], target)
        for part, form, target in zip(
            torch.split(payload, sizes.tolist()), form_of.tolist(), targets.tolist(), strict=True
        )
    ]
    for item in items:
        _check_payload(item)
    return EncodedSamples(items)


def damaged(reason: str) -> UserError:
    """Return the error for kept samples that cannot be restored."""
    return UserError(f"the kept samples cannot be restored ({reason}); start the run again")


def _vector(state: Mapping[str, Any], name: str, dtype: torch.dtype) -> Tensor:
    value = state[name]
    if not isinstance(value, Tensor) or value.dtype != dtype or value.dim() != 1:
        raise damaged(f"'{name}' is not a vector of {dtype}")
    return value.cpu()


def _form(entry: Any) -> Form:
    try:
        kind, dtype, shape = entry
        form = Form(str(kind), str(dtype), tuple(int(n) for n in shape))
    except (TypeError, ValueError):
        raise damaged(f"{entry} is not a sample form") from None
    if form.kind not in KINDS or form.dtype not in DTYPES or min(form.shape, default=0) < 0:
        raise damaged(f"{entry} is not a sample form")
    return form


def _check_payload(item: Encoded) -> None:
    size, form = len(item.payload), item.form
    if form.kind == "raw":
        expected = torch.Size(form.shape).numel() * DTYPES[form.dtype].itemsize
        if size != expected:
            raise damaged(f"{size} bytes for a sample of {expected}")
    if form.kind == "png" and tuple(item.payload[:8].tolist()) != PNG_SIGNATURE:
        raise damaged("an image is not a PNG")
