from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fscit_streams import build
from PIL import Image

from cl_suite import registry
from cl_suite.data.cut import cut_classes
from cl_suite.data.readers import squares
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.fscit import FSCIT, PROTOCOLS

# number of classes, of base classes, way and sessions, as the paper's code has them
TABLE = {
    "caltech101": (102, 12, 10, 10),
    "cifar100": (100, 10, 10, 10),
    "country211": (211, 22, 21, 10),
    "cub200": (200, 20, 20, 10),
    "dtd": (47, 7, 5, 9),
    "eurosat": (10, 1, 1, 10),
    "fgvc_aircraft": (100, 10, 10, 10),
    "food101": (101, 11, 10, 10),
    "gtsrb": (43, 7, 4, 10),
    "mini_imagenet": (100, 10, 10, 10),
    "oxford_flowers": (102, 12, 10, 10),
    "oxford_pets": (37, 5, 4, 9),
    "resisc45": (45, 5, 5, 9),
    "stanford_cars": (196, 28, 21, 9),
    "sun397": (397, 45, 44, 9),
    "voc2007": (20, 2, 2, 10),
}


# --- the protocol


@pytest.mark.parametrize("dataset", TABLE)
def test_the_settings_are_the_papers_and_divide_exactly(dataset: str) -> None:
    classes, base_classes, way, num_sessions = TABLE[dataset]
    params = registry.get("scenario", f"fscit_{dataset}").settings["params"]
    assert params == {"dataset": dataset, "base_classes": base_classes, "way": way}
    sessions = cut_classes(range(classes), base_classes=base_classes, way=way)
    assert len(sessions) == num_sessions
    assert {len(s) for s in sessions[1:]} == {way}
    protocol = PROTOCOLS[dataset]
    assert (protocol.classes, protocol.base_classes, protocol.way) == TABLE[dataset][:3]


def test_every_data_set_of_the_paper_has_its_settings() -> None:
    names = {name for name in registry.entries("scenario") if name.startswith("fscit_")}
    assert names == {f"fscit_{dataset}" for dataset in TABLE} == {f"fscit_{d}" for d in PROTOCOLS}


def test_ten_shots_are_the_default() -> None:
    assert FSCIT(dataset="dtd", base_classes=7, way=5).shots == 10


def test_every_session_has_the_shots_the_base_session_too(image_sets_root: Path) -> None:
    stream = build(image_sets_root)
    assert stream.info.session_classes == ((0, 1, 2), (3, 4), (5, 6))
    for classes, train, test in zip(
        stream.info.session_classes, stream.train, stream.test, strict=True
    ):
        assert Counter(train.targets) == dict.fromkeys(classes, 2)
        assert Counter(test.targets) == dict.fromkeys(classes, 2)
    assert (stream.info.way, stream.info.shots) == (2, 2)
    assert stream.info.name == "fscit_dtd"


def test_a_published_cut_is_noted_for_its_shots_alone(image_sets_root: Path) -> None:
    # 43 classes in 10 sessions; only the shots are fewer, as the pictures are
    stream = build(image_sets_root, "gtsrb", base_classes=7, way=4)
    assert stream.info.num_sessions == 10
    assert stream.info.notes == (
        "not comparable with published FSCIT figures: a class has 2 instead of 10 shots",
        "not comparable shot for shot with published FSCIT figures: the shots are drawn at random "
        "(shot_seed 0), not those of the authors' list",
    )


def test_another_cut_and_missing_classes_are_noted(image_sets_root: Path) -> None:
    notes = build(image_sets_root, way=3).info.notes
    assert notes[0] == "the last session has 1 instead of 3 classes: way does not divide them"
    assert notes[1].endswith("base_classes or way are not the protocol's")
    assert any("the data set has 7 instead of 47 classes" in note for note in notes)


@pytest.mark.parametrize("dataset", ["caltech101", "eurosat", "resisc45", "sun397"])
def test_an_invented_division_is_noted(image_sets_root: Path, dataset: str) -> None:
    stream = build(image_sets_root, dataset, base_classes=2, way=1)
    assert f"{dataset} has no official split here: 30% of" in stream.info.notes[0]


# --- the shots


def train_paths(stream: Stream) -> list[Path]:
    return [p for samples in stream.train for p in samples.paths]  # type: ignore[attr-defined]


def test_random_shots_follow_their_seed(image_sets_root: Path) -> None:
    def fingerprint(seed: int) -> str:
        return build(image_sets_root, shot_seed=seed).info.fingerprint

    assert fingerprint(1) == fingerprint(1)
    assert fingerprint(1) != fingerprint(2)


def test_the_seed_changes_no_test_image(image_sets_root: Path) -> None:
    first, second = (build(image_sets_root, "sun397", shot_seed=s) for s in (1, 2))
    for a, b in zip(first.test, second.test, strict=True):
        assert a.targets == b.targets
        assert all(a[i][0].equal(b[i][0]) for i in range(len(a)))


def test_fewer_shots_are_a_part_of_more(
    image_sets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 0)
    few, many = (set(train_paths(build(image_sets_root, shots=s))) for s in (2, 3))
    assert len(few) == 14
    assert few < many


def test_first_shots_are_the_first_images(
    image_sets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 0)
    stream = build(image_sets_root, shot_selection="first")
    names = [path.name for path in train_paths(stream)[:4]]
    assert names == ["banded_0000.jpg", "banded_0001.jpg", "blotchy_0000.jpg", "blotchy_0001.jpg"]
    assert "the shots are the first images of each class" in stream.info.notes[-1]


def test_too_few_images_are_told(image_sets_root: Path) -> None:
    with pytest.raises(UserError, match=r"class 'banded' has too few images .* 4 for 5 shots"):
        build(image_sets_root, shots=5)


def shot_file(tmp_path: Path, lines: list[str]) -> str:
    file = tmp_path / "shots.txt"
    file.write_text("\n".join(lines))
    return str(file)


# the training images of the tiny DTD: of class c, 2c and 2c + 1, then 14 + 2c and 15 + 2c
LISTED = [f"{c} {row}" for c in range(7) for row in (15 + 2 * c, 2 * c, 14 + 2 * c)]


def test_listed_shots_are_the_first_lines_of_a_class(
    image_sets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 0)
    stream = build(image_sets_root, shot_list=shot_file(tmp_path, [*LISTED, ""]))
    names = [path.name for path in train_paths(stream)[:4]]
    assert names == ["banded_0003.jpg", "banded_0000.jpg", "blotchy_0003.jpg", "blotchy_0000.jpg"]
    assert not any("shot for shot" in note for note in stream.info.notes)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 1 2", "line 22 is '0 1 2'; expected 'class index', two whole numbers"),
        ("0 -1", "line 22 is '0 -1'"),
        ("banded 1", "line 22 is 'banded 1'"),
        ("6 28", "line 22 names training image 28, but there are 28"),
        ("6 0", "line 22 says that training image 0 is of class 6, but it is of class 0"),
        ("0 15", "line 22 names training image 15 again"),
    ],
)
def test_a_bad_line_of_a_shot_list_is_refused(
    image_sets_root: Path, tmp_path: Path, line: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build(image_sets_root, shot_list=shot_file(tmp_path, [*LISTED, line]))


def test_a_short_or_missing_shot_list_is_refused(image_sets_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class 'cobwebbed' has too few images"):
        build(image_sets_root, shot_list=shot_file(tmp_path, LISTED[:-2]))
    with pytest.raises(UserError, match=r"shot_list 'nowhere.txt' cannot be read"):
        build(image_sets_root, shot_list="nowhere.txt")


# --- what the model gets


@pytest.mark.parametrize("dataset", ["caltech101", "dtd", "oxford_pets"])
def test_files_and_kept_squares_give_the_model_the_same(
    image_sets_root: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = build(image_sets_root, dataset, base_classes=2, way=1)
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 0)
    files = build(image_sets_root, dataset, base_classes=2, way=1)
    assert isinstance(kept.test[0], TensorSamples)
    assert isinstance(files.test[0], FileSamples)
    transform = kept.info.eval_transform
    for i in range(len(files.test[0])):
        assert transform(kept.test[0][i][0]).equal(transform(files.test[0][i][0]))


def test_the_memory_limit_counts_all_sessions(
    image_sets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 14 shots and 14 test images, squares of 9 pixels
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 28 * 3 * 81)
    assert isinstance(build(image_sets_root).test[0], TensorSamples)
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 28 * 3 * 81 - 1)
    assert isinstance(build(image_sets_root).test[0], FileSamples)


def test_small_images_of_one_size_are_kept_as_they_are(image_sets_root: Path) -> None:
    stream = build(image_sets_root, "eurosat", base_classes=1, way=1, image_size=16)
    assert stream.train[0][0][0].shape == (3, 8, 8)
    assert stream.info.input_shape == (3, 16, 16)


def test_a_file_that_goes_bad_is_named(tmp_path: Path) -> None:
    for class_id in range(2):
        for i in range(6):
            (tmp_path / f"kind{class_id}").mkdir(exist_ok=True)
            Image.new("RGB", (9, 9)).save(tmp_path / f"kind{class_id}" / f"{i}.png")
    (tmp_path / "kind1" / "3.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3.png' cannot be read"):
        build(tmp_path, "image_folder", base_classes=1, way=1)


def test_pixels_lie_between_minus_one_and_one(image_sets_root: Path) -> None:
    transform = build(image_sets_root).info.eval_transform
    assert transform(torch.full((3, 9, 9), 255, dtype=torch.uint8)).eq(1).all()
    assert transform(torch.zeros(3, 9, 9, dtype=torch.uint8)).eq(-1).all()


def test_training_images_are_augmented_unless_unwanted(image_sets_root: Path) -> None:
    info = build(image_sets_root).info
    assert "RandomResizedCrop" in repr(info.train_transform)
    assert "Random" not in repr(info.eval_transform)
    plain = build(image_sets_root, augment=False).info
    assert plain.train_transform == plain.eval_transform == info.eval_transform


def test_signs_are_not_mirrored(image_sets_root: Path) -> None:
    signs = build(image_sets_root, "gtsrb").info
    assert "flip=False" in repr(signs.train_transform)
    assert "flip=True" in repr(build(image_sets_root).info.train_transform)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"dataset": "dtdd"}, "dataset must be one of .*, dtd, .*, got 'dtdd'"),
        ({"dataset": "dtd"}, "dataset 'dtd' needs a root; pass the folder of the data set"),
        ({"dataset": "dtd", "root": Path("nowhere")}, "dtd: root 'nowhere' is not a folder"),
        ({"dataset": "omniglot", "shots": 0}, "shots must be at least 1, got 0"),
        ({"dataset": "omniglot", "way": 0}, "way must be at least 1, got 0"),
        (
            {"dataset": "omniglot", "shot_seed": -1},
            r"shot_seed must be in \[0, 4294967295\], got -1",
        ),
        ({"dataset": "omniglot", "image_size": 0}, r"image_size must be in \[2, 4096\], got 0"),
        (
            {"dataset": "omniglot", "shot_selection": "last"},
            "shot_selection must be one of first, random, got 'last'",
        ),
        ({"dataset": "omniglot", "shots": 11}, "has too few images to learn from, 10 for 11 shots"),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**{"root": None, **parameters})


def test_classes_come_in_an_order_of_ones_own(image_sets_root: Path) -> None:
    drawn = build(image_sets_root, class_order=5)
    published = build(image_sets_root)
    assert drawn.info.session_classes != published.info.session_classes
    for name in ("class_names", "way"):
        assert getattr(drawn.info, name) == getattr(published.info, name)
    assert any("classes come in another order (5)" in note for note in drawn.info.notes)
    with pytest.raises(UserError, match="class_order"):
        build(image_sets_root, class_order=-1)
