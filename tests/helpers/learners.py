"""Tiny classifiers that go on learning, on a random network, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cl_suite.data.transforms import Compose, ResizeCenterCrop, ToFloat
from cl_suite.learner.extractor import Extractor, spec_of
from cl_suite.learner.learner import Learner
from cl_suite.learner.records import State
from cl_suite.learner.rule import Rule
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seeded

SIDE = 16
Picture = NDArray[np.uint8]


def tiny_extractor(seed: int = 0) -> Extractor:
    settings = ModelConfig(backbone="conv4", frozen=True)
    shape = (3, SIDE, SIDE)
    with seeded(seed):
        model = build_classifier(settings, shape)
    prepare = Compose((ResizeCenterCrop(SIDE, SIDE), ToFloat()))
    spec = spec_of(model, settings, {}, shape, prepare)
    return Extractor(spec, model.backbone, torch.device("cpu"))


def tiny_learner(rule: str = "simple_cil", seed: int = 0, **parameters: Any) -> Learner:
    """A learner without a class."""
    extractor = tiny_extractor(seed)
    return Learner(extractor, Rule(rule, parameters, extractor.dim), State({}))


def pictures(number: int, *, of: int, seed: int = 0, side: int = 20) -> list[Picture]:
    """Pictures of class `of`: one pattern of its own, and noise."""
    pattern = np.random.default_rng(1000 + of).integers(0, 256, (4, 4, 3))
    pattern = pattern.repeat(side // 4, 0).repeat(side // 4, 1)
    rng = np.random.default_rng(7919 * of + seed)
    noise = rng.integers(-60, 61, (number, side, side, 3))
    return list((pattern + noise).clip(0, 255).astype(np.uint8))


def photo_folder(root: Path, classes: int, number: int, seed: int = 0) -> Path:
    """A folder of class folders `class0`, `class1`, ... with PNG files."""
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for row, picture in enumerate(pictures(number, of=label, seed=seed)):
            Image.fromarray(picture).save(folder / f"{row}.png")
    return root


def photo_learner(root: Path, rule: str = "simple_cil", **parameters: Any) -> Learner:
    """A learner whose base classes are the folders of `root`."""
    return started(tiny_learner(rule, **parameters), root)


def started(learner: Learner, root: Path) -> Learner:
    from cl_suite.learner import steps
    from cl_suite.learner.start import fixed_base

    found, _ = fixed_base(root, learner.look)
    with torch.no_grad():
        learner._state = steps.started(learner.rule, found)
    return learner


def assert_equal_states(one: Learner, other: Learner) -> None:
    """Both know the same of the same classes, to the bit."""
    assert set(one.labels) == set(other.labels)
    for label, record in one.state.records.items():
        twin = other.state.records[label]
        assert record.is_base == twin.is_base
        assert record.ids == twin.ids
        assert torch.equal(record.total, twin.total), label
        assert record.kept.ids == twin.kept.ids
        assert record.kept.thumbnails == twin.kept.thumbnails
        assert torch.equal(record.kept.features, twin.kept.features)
        assert (record.moment is None) == (twin.moment is None)


def keys_of(learner: Learner) -> dict[str, torch.Tensor]:
    """The key and offset of each class."""
    _ = learner.calibration  # brings the table up to date
    table = learner._table
    both = torch.cat([table.keys, table.offsets[:, None]], dim=1)
    return dict(zip(table.labels, both, strict=True))
