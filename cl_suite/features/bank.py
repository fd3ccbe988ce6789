"""The feature bank: runs a frozen backbone once over each distinct image of a stream.

`banked_stream` turns a stream of images into a stream of features, which a strategy learns from
with an identity backbone in the model. The features stay on disk (`bank_store`), so a second run,
another strategy or another seed only reads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cl_suite.data.samples import Samples, TensorSamples
from cl_suite.data.stream import Stream, StreamInfo, build_stream
from cl_suite.data.transforms import Transform
from cl_suite.distributed.group import from_first, is_first, wait_for_all
from cl_suite.errors import UserError
from cl_suite.features.bank_store import (
    Entry,
    building,
    default_folder,
    key_name,
    open_entries,
    write_entry,
)
from cl_suite.features.compute import (
    Progress,
    Recipe,
    Source,
    content_digests,
    default_batch_size,
    probe_of,
)
from cl_suite.models.digest import weights_digest, words
from cl_suite.models.settings import FeatureDtype

__all__ = ["DrawnView", "FirstView", "StoredFeature", "banked_stream", "weights_digest"]


@dataclass(frozen=True)
class StoredFeature:
    """Return a stored feature unchanged; the fields describe how it was computed."""

    preprocessing: str
    weights: str
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class FirstView(StoredFeature):
    """Return the evaluation view of `(..., num_views, dim)`."""

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., 0, :]


@dataclass(frozen=True)
class DrawnView:
    """Draw one view of each sample of `(..., num_views, dim)`, from torch's global generator."""

    preprocessing: tuple[str, ...]
    weights: str
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        samples = x if x.dim() == 3 else x[None]  # (batch, num_views, dim)
        drawn = torch.randint(samples.shape[1], (len(samples),), device=x.device)
        chosen = samples[torch.arange(len(samples), device=x.device), drawn]
        return chosen if x.dim() == 3 else chosen[0]


def banked_stream(
    stream: Stream,
    backbone: nn.Module,
    *,
    weights_key: str | None = None,
    folder: Path | None = None,
    views: Sequence[Transform] = (),
    dtype: FeatureDtype = "float32",
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    on_progress: Progress | None = None,
) -> Stream:
    """Return the stream with each image replaced by its feature, float32 `(dim,)`.

    Every session owns a copy of its rows. The backbone runs in eval mode, and only over images
    missing from the bank. It is moved to `device` and to channels-last order, which changes no
    value. No random number is drawn.

    Args:
        backbone: maps a batch of inputs to features `(batch, dim)`; later training of it does not
            change the features.
        weights_key: identifies the backbone (default: its `weights_digest`).
        folder: the bank's folder (default: `bank_store.default_folder`).
        views: deterministic transforms of the training images, in addition to the eval transform;
            each access to a training sample draws one of its views.
        dtype: number format of the features on disk; in memory they are float32.
        batch_size: images a forward pass (default: by device and input size).
        on_progress: called with the number of missing images done, and of all missing images.

    Raises:
        UserError: if an image cannot be read, a view is random, a feature does not fit `dtype`, or
            the bank cannot be written.
    """
    folder = default_folder() if folder is None else folder
    all_views = (stream.info.eval_transform, *views)
    probe = probe_of(stream.train[0])
    recipe = _recipe(backbone, weights_key, dtype, batch_size, device, all_views[0](probe))
    train = [content_digests(samples) for samples in stream.train]
    test = [content_digests(samples) for samples in stream.test]
    train_sources, test_sources = _sources(stream.train, train), _sources(stream.test, test)
    keys = [recipe.key(view, probe) for view in all_views]
    train_features, test_features = [], []
    for view, key in zip(all_views, keys, strict=True):
        is_eval = view is all_views[0]
        wanted = {**test_sources, **train_sources} if is_eval else train_sources
        rows = _rows(folder, key, recipe, view, wanted, on_progress)
        train_features.append([rows.gather(digests) for digests in train])
        if is_eval:
            test_features = [rows.gather(digests) for digests in test]
    info = _info(stream.info, all_views, recipe.weights, keys)
    return _stream_of(stream, info, train_features, test_features)


class _Rows:
    """All rows of a key, from all its entries."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._place: dict[bytes, int] = {}
        self._starts = [0]
        for entry in entries:
            first = self._starts[-1]
            self._place.update((digest, first + i) for i, digest in enumerate(entry.digests))
            self._starts.append(first + len(entry.digests))

    def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return the digests without a row, each once, in order of first appearance."""
        return [digest for digest in dict.fromkeys(digests) if digest not in self._place]

    def gather(self, digests: Sequence[bytes]) -> Tensor:
        """Return the features of these images, float32 `(num_images, dim)`, as a copy."""
        dim = self.entries[0].features.shape[1]
        places = np.fromiter((self._place[d] for d in digests), np.int64, len(digests))
        features = torch.empty(len(places), dim)
        for entry, first in zip(self.entries, self._starts, strict=False):
            here = np.flatnonzero((places >= first) & (places < first + len(entry.digests)))
            features[torch.from_numpy(here)] = entry.rows(places[here] - first)
        return features


def _recipe(
    backbone: nn.Module,
    weights_key: str | None,
    dtype: FeatureDtype,
    batch_size: int | None,
    device: torch.device | str,
    example: Tensor,
) -> Recipe:
    device = torch.device(device)
    if batch_size is None:
        batch_size = default_batch_size(device, tuple(example.shape))
    if batch_size < 1:
        raise UserError(f"the feature bank's batch size must be at least 1, got {batch_size}")
    weights = weights_digest(backbone) if weights_key is None else weights_key
    return Recipe(backbone, weights, dtype, device, batch_size)


def _sources(sets: Sequence[Samples], digests: Sequence[Sequence[bytes]]) -> dict[bytes, Source]:
    """Return the location of one sample for each content digest."""
    return {
        digest: (samples, row)
        for samples, contents in zip(sets, digests, strict=True)
        for row, digest in enumerate(contents)
    }


def _rows(
    folder: Path,
    key: Mapping[str, str],
    recipe: Recipe,
    view: Transform,
    sources: Mapping[bytes, Source],
    on_progress: Progress | None,
) -> _Rows:
    """Compute the rows that the bank lacks, then return the rows of these images."""
    if not from_first(lambda: bool(_Rows(open_entries(folder, key)).missing(sources))):
        return _Rows(open_entries(folder, key))
    # of a run's processes, the first one waits for other runs and writes
    with building(folder, key) if is_first() else contextlib.nullcontext():
        # another process may have computed them while this one waited for the lock
        if missing := _missing(folder, key, list(sources)):
            images = [sources[digest] for digest in missing]
            # closed at once if writing fails: this restores the backbone's modes
            with contextlib.closing(recipe.features(view, images, on_progress)) as features:
                if is_first():
                    write_entry(folder, key, missing, recipe.dtype, features)
                else:
                    deque(features, maxlen=0)
        wait_for_all()
    rows = _Rows(open_entries(folder, key))
    if rows.missing(sources):
        raise UserError(
            f"the feature bank '{folder}' has lost features that were just written; check the "
            "disk, make sure that nobody is clearing the bank, and repeat the command"
        )
    return rows


def _missing(folder: Path, key: Mapping[str, str], digests: Sequence[bytes]) -> list[bytes]:
    """Return the digests without a row in the bank, as the run's first process finds it."""

    def places() -> list[int]:
        missing = set(_Rows(open_entries(folder, key)).missing(digests))
        return [place for place, digest in enumerate(digests) if digest in missing]

    return [digests[place] for place in from_first(places)]


def _info(
    info: StreamInfo, views: Sequence[Transform], weights: str, keys: Sequence[Mapping[str, str]]
) -> StreamInfo:
    """Return the record with the banked stream's transforms, notes and fingerprint."""
    names = tuple(words(view) for view in views)
    several = len(views) > 1
    evaluated = (FirstView if several else StoredFeature)(names[0], weights)
    notes = info.notes
    if words(info.train_transform) != names[0]:
        notes += (
            "features are computed once, so the training images' random augmentation is left out"
            + (f"; {len(views)} views replace it" if several else ""),
        )
    identity = "\0".join([info.fingerprint, *(key_name(key) for key in keys)])
    return dataclasses.replace(
        info,
        train_transform=DrawnView(names, weights) if several else evaluated,
        eval_transform=evaluated,
        notes=notes,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
    )


def _stream_of(
    stream: Stream,
    info: StreamInfo,
    train: Sequence[Sequence[Tensor]],
    test: Sequence[Tensor],
) -> Stream:
    """Return a stream of features that holds nothing of the original one.

    Args:
        train: for each view, each session's training features `(num_samples, dim)`.
        test: each session's test features.
    """
    several = len(train) > 1
    sessions = [
        torch.stack(views, dim=1) if several else views[0] for views in zip(*train, strict=True)
    ]
    tests = [features[:, None] if several else features for features in test]
    return build_stream(
        name=info.name,
        class_names=info.class_names,
        session_classes=info.session_classes,
        train=[TensorSamples(x, s.targets) for x, s in zip(sessions, stream.train, strict=True)],
        test=[TensorSamples(x, s.targets) for x, s in zip(tests, stream.test, strict=True)],
        train_transform=info.train_transform,
        eval_transform=info.eval_transform,
        way=info.way,
        shots=info.shots,
        modality=info.modality,
        kind=info.kind,
        notes=info.notes,
        mirror_symmetric=info.mirror_symmetric,
        # of the original data: the features' own would not distinguish streams of equal features
        known_fingerprint=info.fingerprint,
    )
