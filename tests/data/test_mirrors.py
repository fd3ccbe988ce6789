"""Data whose mirrored samples belong to other classes: no view of them is mirrored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_image_sets import write_dtd, write_gtsrb
from helpers.tiny_streams import make_stream
from PIL import Image
from torch import Tensor

from cl_suite import registry
from cl_suite.data.class_images import read as read_classes
from cl_suite.data.readers import omniglot, torchvision_sets
from cl_suite.data.sources import read_source
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import (
    Compose,
    Flip,
    Identity,
    RandomCropFlip,
    RandomResizedCrop,
    ToFloat,
    Transform,
    without_mirroring,
)
from cl_suite.methods.self_supervised.views import ssl_views
from cl_suite.models.preprocessing import Preprocessing, with_preprocessing
from cl_suite.runs.assemble import build_model
from cl_suite.runs.assemble import build_stream as stream_of
from cl_suite.runs.base_classes import Cut, cut_base
from cl_suite.runs.config import resolve

MIRRORING = Compose((Compose((Flip(), ToFloat())), RandomCropFlip(2), RandomResizedCrop(16)))


def of_photos(*, mirror_symmetric: bool) -> Stream:
    """Return a stream of coloured pictures whose training transform mirrors half of them."""
    plain = make_stream(((*range(12),), (12, 13)), base_shots=8)
    return build_stream(
        name="signs",
        class_names=plain.info.class_names,
        session_classes=plain.info.session_classes,
        train=[_coloured(samples) for samples in plain.train],
        test=[_coloured(samples) for samples in plain.test],
        train_transform=Compose((ToFloat(), RandomResizedCrop(16))),
        eval_transform=ToFloat(),
        shots=3,
        mirror_symmetric=mirror_symmetric,
    )


def _coloured(samples: Any) -> Any:
    return type(samples)(samples.inputs.repeat(1, 3, 1, 1), samples.targets)


def mirrors(transform: Transform) -> bool:
    """Return whether a transform's words say that it mirrors."""
    return "flip=True" in repr(transform) or "Flip(" in repr(transform).replace(
        "RandomCropFlip(", ""
    )


def arrows(num: int) -> Tensor:
    """Return pictures `(num, 3, 16, 16)` that are bright on the left."""
    images = torch.zeros(num, 3, 16, 16)
    images[..., :8] = 1
    return images


def test_nothing_mirrors_afterwards_and_the_rest_stays() -> None:
    assert mirrors(MIRRORING)
    found = without_mirroring(MIRRORING)
    assert found == Compose(
        (
            Compose((ToFloat(),)),
            RandomCropFlip(2, flip=False),
            RandomResizedCrop(16, flip=False),
        )
    )
    assert without_mirroring(Flip()) == Identity()
    assert without_mirroring(ToFloat()) == ToFloat()


@pytest.mark.parametrize("symmetric", [True, False])
def test_views_of_every_kind(symmetric: bool) -> None:
    stream = of_photos(mirror_symmetric=symmetric)
    prepared = with_preprocessing(stream, Preprocessing(16, (0.5,) * 3, (0.5,) * 3))
    kinds = {
        "training": stream.info.train_transform,
        "self-supervised": ssl_views(stream.info),
        "of a pretrained network": prepared.info.train_transform,
        "given later": stream.with_transforms(MIRRORING, ToFloat()).info.train_transform,
        "of a fake stream": cut_base(stream, Cut()).info.train_transform,
    }
    assert {name: mirrors(view) for name, view in kinds.items()} == dict.fromkeys(kinds, symmetric)


@pytest.mark.parametrize("symmetric", [True, False])
def test_training_views_keep_left_and_right(symmetric: bool) -> None:
    stream = of_photos(mirror_symmetric=symmetric)
    torch.manual_seed(0)
    crops = stream.info.train_transform.steps[-1](arrows(200))  # type: ignore[attr-defined]
    left = crops[..., :8].mean(dim=(1, 2, 3)) >= crops[..., 8:].mean(dim=(1, 2, 3))
    assert bool(left.all()) is not symmetric


@pytest.mark.parametrize(("symmetric", "views"), [(True, 2), (False, 1)])
def test_the_bank_keeps_no_mirrored_view(
    symmetric: bool, views: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_SUITE_BANK", str(tmp_path))
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "prototype")
    arguments = ["--model.backbone=conv4", "--model.frozen=true", "--model.bank_views=[flip]"]
    (config,), _ = resolve(*pair, [*arguments, "--device=cpu"])
    _, banked = build_model(config, of_photos(mirror_symmetric=symmetric))
    stored = banked.train[0].inputs  # type: ignore[attr-defined]  # in memory
    assert (stored.shape[1] if stored.dim() == 3 else 1) == views
    assert banked.info.mirror_symmetric is symmetric


def test_the_packaged_drawings_are_not_symmetric() -> None:
    assert not omniglot.read().mirror_symmetric
    assert not read_source("omniglot", None).mirror_symmetric
    assert not read_classes(None, image_size=28, augment=True).mirror_symmetric
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "prototype")
    (config,), _ = resolve(*pair, ["--device=cpu"])
    assert not stream_of(config).info.mirror_symmetric


def write_letters(root: Path) -> Path:
    for name in ("b", "d", "p", "q"):
        (root / name).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (20, 20), (20 * i, 9, ord(name))).save(root / name / f"{i}.png")
    return root


FOLDERS = {
    "image_folder": ["--scenario.base_classes=2", "--scenario.way=2", "--scenario.shots=1"],
    "class_incremental": ["--scenario.source=image_folder", "--scenario.way=2"],
    "data_incremental": ["--scenario.source=image_folder", "--scenario.num_sessions=2"],
    "fscit": [
        "--scenario.dataset=image_folder",
        "--scenario.base_classes=2",
        "--scenario.way=2",
        "--scenario.shots=2",
    ],
    "cfsl_pretraining": ["--scenario.test_images=1"],
}


@pytest.mark.parametrize("scenario", FOLDERS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_folder_says_so_by_an_option(scenario: str, symmetric: bool, tmp_path: Path) -> None:
    arguments = [f"--scenario.root={write_letters(tmp_path / 'letters')}", *FOLDERS[scenario]]
    arguments += [] if symmetric else ["--scenario.mirror_symmetric=false"]
    pair = registry.get("scenario", scenario), registry.get("strategy", "finetune")
    (config,), _ = resolve(*pair, [*arguments, "--device=cpu"])
    info = config.scenario.build().info
    assert info.mirror_symmetric is symmetric
    assert mirrors(info.train_transform) is symmetric


@pytest.mark.parametrize(
    ("dataset", "write", "symmetric"), [("gtsrb", write_gtsrb, False), ("dtd", write_dtd, True)]
)
def test_published_sets_know_it(
    dataset: Any, write: Callable[[Path], None], symmetric: bool, tmp_path: Path
) -> None:
    write(tmp_path)
    assert torchvision_sets.read(dataset, str(tmp_path)).mirror_symmetric is symmetric
