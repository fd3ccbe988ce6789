"""A frozen backbone with what prepares pictures for it, rebuilt from plain values and tensors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite import registry
from cl_suite.data.transform_plain import from_plain, to_plain
from cl_suite.data.transforms import Transform
from cl_suite.errors import UserError, option
from cl_suite.features.compute import default_batch_size, padded_forward
from cl_suite.learner.origin import READING, check_source
from cl_suite.models.allocator import keep_freed_memory
from cl_suite.models.backbones import HUB_MODELS, Backbone
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.digest import weights_digest
from cl_suite.models.modes import evaluating, full_float32
from cl_suite.models.settings import ModelConfig

LEARNED_AT_ONCE = 32  # on an accelerator


@dataclass(frozen=True)
class BackboneSpec:
    """All that rebuilds a backbone.

    Attributes:
        settings: fields of `ModelConfig`.
        strategy: name and parameters of the strategy that prepared the network; {} for none.
        input_shape: shape of a prepared picture.
        prepare: the transform from a uint8 RGB picture, as plain values.
        published: digest of the published weights that it starts from, None for none.
        digest: of the finished network's structure and tensors.
        tensors: those that are not as published.
    """

    settings: Mapping[str, Any]
    strategy: Mapping[str, Any]
    input_shape: tuple[int, ...]
    prepare: Mapping[str, Any]
    published: str | None
    digest: str
    tensors: Mapping[str, Tensor] = field(repr=False)

    @property
    def name(self) -> str:
        """The backbone's name."""
        return str(self.settings["backbone"])

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of its one or two networks."""
        return ModelConfig(**self.settings).networks

    @property
    def identity(self) -> str:
        """Equal for backbones that give equal features of equal pictures."""
        words = json.dumps([self.digest, dict(self.prepare)], sort_keys=True)
        return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def spec_of(
    model: Classifier,
    settings: ModelConfig,
    strategy: Mapping[str, Any],
    input_shape: tuple[int, ...],
    prepare: Transform,
) -> BackboneSpec:
    """Return the spec of a finished classifier's backbone.

    Raises:
        UserError: if its preparation of pictures cannot be stored.
    """
    published = model.backbone.weights
    tensors = model.trained_state("backbone.")
    from_run = settings.weights is not None and not _is_published(settings)
    if from_run or settings.beside is not None:
        # a run's folder may move or go, and one file is named, not two: everything is stored
        tensors = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
        settings = settings.without_files()
        published = None
    if published is None:
        # all tensors are stored, so no file is read again
        known = settings.backbone_args.items()
        arguments = {k: v for k, v in known if not k.startswith(READING)}
        settings = dataclasses.replace(settings, backbone_args=arguments)
    return BackboneSpec(
        settings=dataclasses.asdict(settings),
        strategy=dict(strategy),
        input_shape=tuple(input_shape),
        prepare=to_plain(prepare),
        published=published,
        digest=weights_digest(model.backbone.body),
        tensors={name: tensor.detach().cpu() for name, tensor in tensors.items()},
    )


class Extractor:
    """Computes features of pictures.

    Args:
        backbone: the network; it is put into eval mode.
    """

    def __init__(self, spec: BackboneSpec, backbone: Backbone, device: torch.device) -> None:
        keep_freed_memory()
        self.spec, self.device = spec, device
        self.prepare = from_plain(spec.prepare)
        try:
            self.backbone = backbone.to(device).eval().requires_grad_(False)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"device '{device}' cannot be used ({reason}); use 'cpu'") from error
        self.batch_size = default_batch_size(device, spec.input_shape)

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return self.backbone.dim

    def to_learn(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return features `(n, dim)` of prepared pictures, on the CPU.

        No feature depends on the other pictures: batches of another size round differently.
        """
        size = 1 if self.device.type == "cpu" else LEARNED_AT_ONCE
        return self._features(inputs, size, padded=True)

    def to_predict(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return features `(n, dim)` of prepared pictures, on the CPU, as fast as possible."""
        return self._features(inputs, self.batch_size, padded=False)

    def _features(self, inputs: Sequence[Tensor], size: int, *, padded: bool) -> Tensor:
        found = [torch.empty(0, self.dim)]
        with evaluating(self.backbone), full_float32():
            for first in range(0, len(inputs), size):
                batch = torch.stack(list(inputs[first : first + size]))
                most = size if padded else len(batch)
                found.append(padded_forward(self.backbone, batch, self.device, most))
        return torch.cat(found)


class Absent(Extractor):
    """Stands for a backbone that no step needs: no picture is looked at."""

    def __init__(self, spec: BackboneSpec) -> None:
        self.spec, self.device = spec, torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        if name in ("prepare", "backbone", "batch_size"):
            raise UserError(
                "this classifier was loaded without its backbone, so it sees no pictures; load it "
                "again with its backbone"
            )
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


def build_extractor(
    spec: BackboneSpec, *, weights: str | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """Return the extractor of a spec.

    Args:
        weights: file (for CLIP: folder) of the published weights, if they moved.

    Raises:
        UserError: if the published weights are not there, or are others.
    """
    settings = ModelConfig(**spec.settings)
    if weights is not None and settings.beside is None:  # two networks are stored whole
        settings = dataclasses.replace(settings, weights=weights)
    elif settings.weights is not None and not Path(settings.weights).expanduser().exists():
        raise UserError(
            f"the backbone's weights '{settings.weights}' are not there any more; say where they "
            f"are now by {option('weights', 'FILE')}"
        )
    else:
        check_source(spec.name, settings.weights)
    model = build_classifier(settings, spec.input_shape, 0, _preparing(spec))
    if spec.published is not None and model.backbone.weights != spec.published:
        given = settings.weights or f"the published weights of '{spec.name}'"
        raise UserError(
            f"the classifier needs other backbone weights than {given} (digest "
            f"{spec.published[:12]} there, {str(model.backbone.weights)[:12]} here); pass the "
            f"right file by {option('weights')}"
        )
    try:
        model.load_trained_state(spec.tensors, "backbone.")
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the stored backbone '{spec.name}' does not fit its settings "
            f"({str(error).splitlines()[0]}); the file comes from another version of the suite"
        ) from error
    if weights_digest(model.backbone.body) != spec.digest:
        raise UserError(
            f"backbone '{spec.name}' is not the one that the classifier learned with; the file "
            "comes from another version of the suite, or of timm"
        )
    if weights is not None and spec.published is not None:
        # written with the next step, so they are found without being named again
        spec = dataclasses.replace(spec, settings={**spec.settings, "weights": weights})
    return Extractor(spec, model.backbone, torch.device(device))


def _preparing(spec: BackboneSpec) -> Any:
    if not spec.strategy:
        return None
    name = spec.strategy["name"]
    cls = registry.get("strategy", name).load()
    try:
        return cls(**spec.strategy["parameters"])
    except TypeError as error:
        raise UserError(
            f"the classifier's backbone was prepared by strategy '{name}' with parameters that it "
            f"does not accept ({error}); the file comes from another version of the suite"
        ) from error


def _is_published(settings: ModelConfig) -> bool:
    path = Path(settings.weights or "").expanduser()
    return path.is_file() or settings.backbone.startswith(HUB_MODELS)
