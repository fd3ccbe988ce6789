"""The streams of continual few-shot learning and of the instance test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_drawings import write_drawings

from cl_suite.cli import main
from cl_suite.data.class_images import read
from cl_suite.data.few_shot_tasks import class_split
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.cfsl import CFSL, CFSLPretraining
from cl_suite.scenarios.instance_test import InstanceTest


def images(stream: Stream, part: str, session: int) -> torch.Tensor:
    samples = (stream.train if part == "train" else stream.test)[session]
    assert isinstance(samples, TensorSamples)
    return samples.inputs


def as_bytes(pictures: torch.Tensor) -> list[bytes]:
    return [picture.numpy().tobytes() for picture in pictures]


def test_consecutive_sets_share_labels_but_no_image_and_are_tested_on_fresh_ones() -> None:
    stream = CFSL(task=4).build()
    first, second = tuple(range(5)), tuple(range(5, 10))
    assert stream.info.session_classes == (first, first, second, second)
    assert stream.info.kind == "mixed"
    every = [
        b for part in ("train", "test") for s in range(4) for b in as_bytes(images(stream, part, s))
    ]
    assert len(set(every)) == len(every) == 4 * (5 + 25)


def test_without_a_change_interval_every_set_brings_new_classes() -> None:
    stream = CFSL(class_change=1).build()
    assert stream.info.kind == "class"
    assert stream.info.num_classes == 20


def test_overwriting_groups_use_the_first_labels_again() -> None:
    stream = CFSL(class_change=1, support_sets=3, overwrite=True).build()
    assert set(stream.info.session_classes) == {tuple(range(5))}
    assert stream.info.class_names == tuple(f"label {i}" for i in range(5))


def test_no_class_of_a_task_is_one_of_the_pretraining() -> None:
    pretraining = CFSLPretraining().build()
    learned = {pretraining.info.class_names[c] for c in pretraining.info.session_classes[0]}
    assert len(learned) == 179
    for split in ("validation", "test"):
        for task in range(5):
            assert not learned & set(CFSL(task=task, split=split).build().info.class_names)  # type: ignore[arg-type]


def test_the_pretraining_holds_images_of_each_class_out() -> None:
    stream = CFSLPretraining(test_images=3).build()
    assert len(stream.test[0]) == 3 * 179
    assert len(stream.train[0]) == 17 * 179
    train, test = as_bytes(images(stream, "train", 0)), as_bytes(images(stream, "test", 0))
    assert not set(train) & set(test)


def test_an_unspoiled_instance_is_its_own_nearest_neighbour_in_pixels() -> None:
    stream = InstanceTest(task=1).build()
    support = torch.cat([images(stream, "train", s) for s in range(4)]).flatten(1).float()
    target = torch.cat([images(stream, "test", s) for s in range(4)]).flatten(1).float()
    assert torch.cdist(target, support).argmin(1).tolist() == list(range(20))
    assert [c for s in stream.test for c in s.targets] == list(range(20))


@pytest.mark.parametrize("corruption", ["noise", "occlusion", "square_occlusion"])
def test_only_targets_are_spoiled_and_equally_for_equal_seeds(corruption: Any) -> None:
    clean = InstanceTest(task=2).build()
    spoiled = InstanceTest(task=2, corruption=corruption, amount=0.2).build()
    again = InstanceTest(task=2, corruption=corruption, amount=0.2).build()
    for session in range(4):
        assert images(clean, "train", session).equal(images(spoiled, "train", session))
        assert not images(clean, "test", session).equal(images(spoiled, "test", session))
        assert images(again, "test", session).equal(images(spoiled, "test", session))


def test_a_folder_of_images_serves_as_well(picture_folder: Path) -> None:
    # seven classes: five for training, one for validation, one for testing
    stream = CFSL(
        root=str(picture_folder), way=1, support_sets=2, class_change=2, targets=2, image_size=16
    ).build()
    assert stream.info.input_shape == (3, 16, 16)
    instances = InstanceTest(root=str(picture_folder), support_sets=2, set_size=3, image_size=16)
    assert instances.build().info.num_classes == 6
    assert len(CFSLPretraining(root=str(picture_folder), image_size=16).build().train[0]) == 35


def test_omniglots_own_folders_serve_as_the_package_does(tmp_path: Path) -> None:
    # eight classes: six for training, one for validation, one for testing
    write_drawings(tmp_path, range(8))
    root: dict[str, Any] = {"source": "omniglot", "root": str(tmp_path)}
    own, packaged = (
        read(path, source="omniglot", image_size=84, augment=True) for path in (str(tmp_path), None)
    )
    assert own.class_names == packaged.class_names[:8]
    assert own.train_transform == packaged.train_transform
    assert not own.mirror_symmetric
    shown, expected = own.load(own.samples), packaged.samples.select(range(160))
    assert isinstance(shown, TensorSamples)
    assert isinstance(expected, TensorSamples)
    assert shown.targets == expected.targets
    assert shown.inputs.equal(expected.inputs)
    task = CFSL(**root, way=1, support_sets=2, class_change=2).build()
    assert task.info.input_shape == (1, 28, 28)
    assert len(CFSLPretraining(**root).build().train[0]) == 6 * 17


def test_class_folders_need_a_root() -> None:
    with pytest.raises(UserError, match="source 'image_folder' needs a root"):
        CFSL(source="image_folder").build()


def test_a_folders_images_come_by_name_whatever_the_readers_own_division(
    picture_folder: Path,
) -> None:
    found = read(str(picture_folder), image_size=16, augment=False)
    paths = [str(path) for path in found.samples.paths]  # type: ignore[attr-defined]
    assert paths == sorted(paths)
    assert len(class_split(len(found.class_names), "train")) == 5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"class_change": 3}, "class_change must divide support_sets, got 3 and 4"),
        ({"way": 0}, "way must be at least 1, got 0"),
        ({"split": "train"}, "split must be one of validation, test, got 'train'"),
        ({"task": -1}, r"task must be in \[0, 4294967295\], or null, got -1"),
        ({"way": 100}, "a task needs 200 classes"),
    ],
)
def test_bad_parameters_of_a_task_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CFSL(**parameters).build()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"corruption": "occlusion", "amount": 0.6},
            r"amount of occlusion must lie in \[0, 0.49\]",
        ),
        ({"corruption": "noise", "amount": -0.1}, r"amount must be in \[0, 1\], got -0.1"),
        ({"corruption": "blur"}, "corruption must be one of none, noise, .*, got 'blur'"),
        ({"set_size": 6}, "a task needs 24 images of each class"),
    ],
)
def test_bad_parameters_of_an_instance_test_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        InstanceTest(**parameters).build()


@pytest.mark.slow
def test_seeds_are_tasks_that_begin_at_a_run_and_share_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path), "--device", "cpu"]
    assert main(["run", "cfsl_pretraining", "finetune", "--training.base_epochs", "1", *out]) == 0
    start = str(tmp_path / "cfsl_pretraining" / "finetune" / "seed{seed}")
    arguments = ["run", "instance_test", "cfsl", "--training.base_epochs", "2"]
    arguments += ["--training.incremental_epochs", "1", "--model.weights"]
    assert main([*arguments, start, "--seed", "0", *out]) == 0
    fixed = start.replace("{seed}", "0")
    capsys.readouterr()
    assert main([*arguments, fixed, "--seed", "1", "2", *out]) == 0
    assert main(["show", str(tmp_path / "instance_test")]) == 0
    printed = capsys.readouterr().out
    assert "task=" not in printed
    tables = [line for line in printed.splitlines() if line.startswith("cfsl ")]
    assert tables[-1].split()[1] == "3"  # seeds in one row
