"""Makes a classifier file of a finished run: its backbone, and statistics of what it learned from.

A strategy whose classifier follows from class statistics gives its own rule. The head of any other
is trained, and cannot take a class without training: its classifier file then has class means on
the backbone that the run tuned, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite.data.samples import UNLABELLED, Samples
from cl_suite.data.stream import Stream, StreamInfo
from cl_suite.data.transform_plain import to_plain
from cl_suite.data.transforms import Compose, Grey, InkDrawing, ResizeCenterCrop, Transform
from cl_suite.errors import UserError
from cl_suite.features.compute import content_digests
from cl_suite.learner import store
from cl_suite.learner.calibration import FALSE_ALARMS
from cl_suite.learner.extractor import spec_of
from cl_suite.learner.pictures import thumbnail
from cl_suite.learner.records import Examples, State, grown, new_rows, with_record
from cl_suite.learner.rule import FALLBACK, Rule, rule_plugin
from cl_suite.learner.steps import LONGEST_LABEL
from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.methods.head_rule import HeadRulePlugin
from cl_suite.models.classifier import Classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin

THUMBNAILS = 8  # of each class

Features = Iterable[list[list[Tensor]]]  # of each session: batches of features and class ids


class NotTeachableError(UserError):
    """A run of this kind leaves no classifier that goes on learning; the message says why."""


@dataclass(frozen=True, eq=False)
class Album:
    """What a classifier file needs to know of a stream's training pictures, without the pictures.

    Attributes:
        info: of the stream of images, before any feature bank.
        raw: a raw sample.
        ids: identity of each picture, by session.
        thumbnails: a small JPEG of some pictures, by session and row.
    """

    info: StreamInfo
    raw: Tensor
    ids: tuple[tuple[bytes, ...], ...]
    thumbnails: tuple[Mapping[int, bytes], ...]


def album_of(images: Stream) -> Album:
    """Return the album of a stream; an empty one of sounds, which are not taught."""
    if images.info.modality != "image":
        return Album(images.info, torch.empty(0), (), ())
    ids = tuple(tuple(content_digests(samples)) for samples in images.train)
    thumbnails = tuple(
        {row: _thumbnail(samples[row][0], images.info) for row in _pictured(samples, digests)}
        for samples, digests in zip(images.train, ids, strict=True)
    )
    return Album(images.info, images.train[0][0][0], ids, thumbnails)


def save_trained(
    path: Path,
    *,
    model: Classifier,
    settings: ModelConfig,
    strategy: Mapping[str, Any],
    plugin: Any,
    album: Album,
    features: Features,
) -> None:
    """Write the classifier file of a finished run.

    Args:
        strategy: its name and parameters.
        plugin: the strategy.
        features: of each session's training data.

    Raises:
        NotTeachableError: if there can be none.
        UserError: if the file cannot be written.
    """
    if album.info.modality != "image":
        raise NotTeachableError("its samples are sounds, and only pictures can be taught")
    prepare = picture_transform(album.info, album.raw)
    try:
        to_plain(prepare)
    except UserError as error:
        raise NotTeachableError(str(error)) from error
    shape = album.info.input_shape
    spec = spec_of(model, settings, _preparing(strategy, plugin), shape, prepare)
    rule, note = rule_of(strategy, plugin, model)
    state = _state(rule, album, features)
    extra = {"false_alarms": FALSE_ALARMS, "note": note}
    store.write(path, store.pack(rule, spec, state, extra))


def rule_of(strategy: Mapping[str, Any], plugin: Any, model: Classifier) -> tuple[Rule, str]:
    """Return the rule of a trained strategy, and a sentence if it is not the strategy's own."""
    name, parameters = strategy["name"], dict(strategy["parameters"])
    head = getattr(plugin, "own_head_", None) or model.head
    if isinstance(plugin, HeadRulePlugin) and isinstance(plugin.head_rule, str):
        name, parameters = plugin.head_rule, plugin.rule_parameters
        plugin = plugin.rule
    note = ""
    if isinstance(plugin, HeadPlugin) and (stated := plugin.stated_rule(head)) is not None:
        name, parameters, plugin = stated.strategy, dict(stated.parameters), stated.plugin
        head, note = stated.head, stated.note
    if isinstance(plugin, HeadPlugin) and rule_plugin(name, parameters) is not None:
        rule = Rule(name, parameters, model.feature_dim)
        rule.take_frame(plugin, head)
        return rule, note
    why = "trains its classifier, which cannot take a class without training"
    if isinstance(plugin, HeadPlugin):
        why = "needs more, with these settings, than the sums of features that a classifier keeps"
    return Rule(FALLBACK, {}, model.feature_dim), (
        f"strategy '{name}' {why}; this classifier is made of class means on the run's backbone, "
        "computed after the last session from the training pictures of all sessions, so its "
        "accuracy differs from the run's, and is not a result of the strategy"
    )


def picture_transform(info: StreamInfo, raw: Tensor) -> Transform:
    """Return the transform from any uint8 RGB picture to the model's input.

    Args:
        raw: a raw sample.

    Raises:
        NotTeachableError: if no picture leads to such an input.
    """
    if info.from_picture is not None:
        return Compose((info.from_picture, info.eval_transform))
    to_raw: tuple[Transform, ...] = (Grey(),) if raw.shape[0] == 1 else ()
    # a picture that is neither square nor of any usual size
    probe = (torch.rand(3, 97, 131, generator=torch.Generator().manual_seed(0)) * 255).byte()
    resized = ResizeCenterCrop(min(raw.shape[-2:]), min(raw.shape[-2:]))
    for steps in ((), to_raw, (*to_raw, resized)):
        transform = Compose((*steps, info.eval_transform))
        try:
            if tuple(transform(probe).shape) == info.input_shape:
                return transform
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue
    raise NotTeachableError(
        f"its model takes inputs of shape {info.input_shape}, which are not made of pictures"
    )


def _preparing(strategy: Mapping[str, Any], plugin: Any) -> dict[str, Any]:
    # most strategies leave the network as it is; the others prepare it again when it is loaded
    prepares = getattr(type(plugin), "prepare_model", None)
    if prepares in (None, StrategyPlugin.prepare_model):
        return {}
    return {"name": strategy["name"], "parameters": dict(strategy["parameters"])}


def _state(rule: Rule, album: Album, features: Features) -> State:
    state, base = State({}), set(album.info.session_classes[0])
    label_of = labels_of(album.info.class_names)
    for session, (ids, parts) in enumerate(zip(album.ids, features, strict=True)):
        found, labels = (torch.cat([part[i] for part in parts]).cpu() for i in (0, 1))
        found = found.float()
        if not bool(found.isfinite().all()):
            raise NotTeachableError("its features are not finite, so its training has diverged")
        for class_id in sorted(set(labels.tolist()) - {UNLABELLED}):
            rows = (labels == class_id).nonzero()[:, 0].tolist()
            examples = Examples(
                found[rows],
                tuple(ids[row] for row in rows),
                tuple(album.thumbnails[session].get(row, b"") for row in rows),
            )
            label = label_of[class_id]
            old = state.records.get(label)
            fresh = examples.select(new_rows(old, examples.ids))
            if len(fresh):
                record = grown(rule, old, fresh, is_base=class_id in base)
                state = with_record(rule, state, label, record)
    return state


def labels_of(class_names: Sequence[str]) -> list[str]:
    """Return labels of classes by their names; a data set may use a name twice, or no clean one.

    Example:
        >>> labels_of(["crane", "crane", " a\\tb "])
        ['crane', 'crane (2)', 'a b']
    """
    labels: list[str] = []
    taken: set[str] = set()
    for class_id, name in enumerate(class_names):
        clean = "".join(c if c.isprintable() else " " for c in name).strip()
        base = clean[: LONGEST_LABEL - 10].strip() or f"class {class_id}"
        label, number = clean if 0 < len(clean) <= LONGEST_LABEL else base, 1
        while label in taken:
            number += 1
            label = f"{base} ({number})"
        taken.add(label)
        labels.append(label)
    return labels


def _pictured(samples: Samples, digests: Sequence[bytes]) -> list[int]:
    """Return the rows to illustrate: of each class those with the smallest identities."""
    by_class: dict[int, list[int]] = {}
    for row, target in enumerate(samples.targets):
        by_class.setdefault(target, []).append(row)
    return [
        row
        for rows in by_class.values()
        for row in sorted(rows, key=lambda row: digests[row])[:THUMBNAILS]
    ]


def _thumbnail(sample: Tensor, info: StreamInfo) -> bytes:
    if sample.dtype != torch.uint8 or sample.dim() != 3 or sample.shape[0] not in (1, 3):
        return b""
    # as the picture was: dark ink on light paper
    return thumbnail(255 - sample if isinstance(info.from_picture, InkDrawing) else sample)
