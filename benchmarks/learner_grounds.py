"""The grounds of `learner_calibration.py`: features of real pictures by class, and draws from them.

A draw makes half of a ground's classes known: some from all of their training pictures, as base
classes, and the others from a few. The other half is never shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_suite import load_model, run
from cl_suite.data.stream import Stream
from cl_suite.features.bank import banked_stream
from cl_suite.models.backbones import create_backbone
from cl_suite.models.modes import evaluating
from cl_suite.models.preprocessing import backbone_preprocessing, with_preprocessing
from cl_suite.scenarios import FSCIL, FSCIT
from cl_suite.scenarios.omniglot import Omniglot

ByClass = Mapping[int, Tensor]


@dataclass(frozen=True)
class Sizes:
    """How a ground is drawn from.

    Attributes:
        base, few: number of known classes with all their training pictures, and with few.
        shots: pictures of the latter.
    """

    base: int
    few: int
    shots: int = 5


@dataclass(frozen=True)
class Draw:
    """Features `(n, dim)` by class.

    Attributes:
        base, few: training pictures of the known classes.
        known: their test pictures.
        strangers: test pictures of classes that were never shown.
    """

    base: ByClass
    few: ByClass
    known: ByClass
    strangers: ByClass


def draw(train: ByClass, test: ByClass, sizes: Sizes, seed: int) -> Draw:
    """Draw known classes and their pictures.

    Args:
        train, test: features `(n, dim)` by class.
    """
    generator = torch.Generator().manual_seed(seed)
    order = [sorted(train)[i] for i in torch.randperm(len(train), generator=generator).tolist()]
    most = max(map(len, train.values()))
    # some classes of a published benchmark come with a few pictures only
    base = [c for c in order if len(train[c]) == most][: sizes.base]
    few = [c for c in order if c not in base][: sizes.few]
    chosen = {
        c: torch.randperm(len(train[c]), generator=generator)[: sizes.shots].tolist() for c in few
    }
    known = {*base, *few}
    return Draw(
        {c: train[c] for c in base},
        {c: train[c][chosen[c]] for c in few},
        {c: test[c] for c in order if c in known},
        {c: test[c] for c in order if c not in known},
    )


@dataclass(frozen=True)
class Ground:
    """Real pictures and a backbone.

    Attributes:
        label: for the table, Markdown.
        scenario: its nearest scenario, as on the command line.
        sizes: how many classes are known.
        features: returns the training and test features by class, for a seed.
        trained: whether the backbone was trained on the base classes, and with which seed.
    """

    label: str
    scenario: str
    sizes: Sizes
    features: Callable[[int], tuple[ByClass, ByClass]]
    trained: bool = False

    def draw(self, seed: int) -> Draw:
        """Return the draw of a seed."""
        train, test = self.features(seed)
        if not self.trained:
            return draw(train, test, self.sizes, seed)
        # the network has seen the first classes of the order and no others
        base = list(train)[: self.sizes.base]
        rest = {c: x for c, x in train.items() if c not in base}
        drawn = draw(rest, test, Sizes(0, self.sizes.few, self.sizes.shots), seed)
        known = {c: test[c] for c in base}
        strangers = {c: x for c, x in drawn.strangers.items() if c not in base}
        return Draw({c: train[c] for c in base}, drawn.few, known | dict(drawn.known), strangers)


def frozen(scenario: str, root: str, backbone: str, weights: str) -> tuple[ByClass, ByClass]:
    """Return the features of a data set's pictures from a pretrained backbone."""
    built = {
        "mini_imagenet": lambda: FSCIL(dataset="mini_imagenet", root=root),
        "fscit_gtsrb": lambda: FSCIT(dataset="gtsrb", root=root, base_classes=7, way=4),
    }[scenario]()
    preprocessing = backbone_preprocessing(backbone)
    assert preprocessing is not None
    stream = with_preprocessing(built.build(), preprocessing)
    network = create_backbone(backbone, stream.info.input_shape, weights=weights, frozen=True)
    return by_class(banked_stream(stream, network), lambda x: x)


def trained(out: Path, seed: int, base: int, options: Mapping[str, Any]) -> tuple[ByClass, ByClass]:
    """Return the features of the package's drawings from a conv4, trained on the base classes.

    Classes come in the stream's order: those that the network was trained on are the first.
    """
    folder = out / "omniglot" / "prototype" / f"seed{seed}"
    if not (folder / "model" / "model.safetensors").is_file():
        # the network is trained in the base session alone, so one more session is enough
        stream_options = {"base_classes": base, "way": 242 - base, "class_order": seed}
        folder = run(
            "omniglot",
            "prototype",
            seed=seed,
            out=out,
            device="cpu",
            listeners=(),
            **{f"scenario.{name}": value for name, value in stream_options.items()},
            **options,
        )
    network = load_model(folder).classifier
    # the rest of each class's training drawings is drawn from as of other grounds
    stream = Omniglot(base_classes=base, way=242 - base, shots=10, class_order=seed).build()
    with evaluating(network), torch.no_grad():
        return by_class(stream, lambda x: network.features(stream.info.eval_transform(x)))


def by_class(stream: Stream, features: Callable[[Tensor], Tensor]) -> tuple[ByClass, ByClass]:
    """Return the training and test features of a stream's samples, by class in stream order."""

    def parts(sets: Sequence[Any]) -> dict[int, Tensor]:
        # the samples of these streams lie in memory: `TensorSamples`
        inputs = torch.cat([samples.inputs for samples in sets])
        labels = torch.tensor([target for samples in sets for target in samples.targets])
        found = torch.cat([features(part) for part in inputs.split(64)])
        order = [c for session in stream.info.session_classes for c in session]
        return {c: found[labels == c] for c in order}

    return parts(stream.train), parts(stream.test)


def identity_of(feature: Tensor) -> bytes:
    """Return a stand-in for a picture's identity."""
    return hashlib.blake2b(feature.numpy().tobytes(), digest_size=16).digest()
