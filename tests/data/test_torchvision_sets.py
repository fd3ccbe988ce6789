from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from helpers.tiny_image_sets import WRITERS, voc_object, write_all

from cl_suite.data.pool import Pool, decoded
from cl_suite.data.readers import class_words, torchvision_sets
from cl_suite.data.readers.torchvision_sets import Part, divide
from cl_suite.data.samples import FileSamples
from cl_suite.errors import UserError

NAMES = {
    "caltech101": ("background", "faces easy", "accordion", "water lilly"),
    "country211": ("Andorra", "France", "Kosovo", "ZZ"),
    "dtd": ("banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed"),
    "eurosat": ("annual crop", "forest", "herbaceous vegetation", "sea lake"),
    "fgvc_aircraft": ("707-320", "A318", "DHC-8-100", "Eurofighter Typhoon"),
    "food101": ("apple pie", "baklava", "beef tartare", "waffles"),
    "gtsrb": class_words.TRAFFIC_SIGNS,
    "oxford_flowers": tuple(c.strip("?") for c in torchvision.datasets.Flowers102.classes),
    "oxford_pets": ("Abyssinian", "American Bulldog", "Bengal", "Yorkshire Terrier"),
    "stanford_cars": (
        "AM General Hummer SUV 2000",
        "Acura RL Sedan 2012",
        "BMW M3 Coupe 2012",
        "smart fortwo",
    ),
    "sun397": ("abbey", "outdoor apartment building", "bar", "zen garden"),
    "voc2007": tuple(class_words.VOC_CLASSES.values()),
}
UNDIVIDED = ("caltech101", "eurosat", "sun397")
every_set = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", autouse=True)
def _generated_lists_pass() -> Iterator[None]:
    """The lists of Oxford flowers are generated too: their checksums are taken as good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.datasets.flowers102, "check_integrity", lambda *_: True)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the data sets; tests must not change them."""
    return write_all(tmp_path_factory.mktemp("sets"))


def read(name: str, root: Path) -> Pool:
    pool = torchvision_sets.read(name, str(root))  # type: ignore[arg-type]
    assert isinstance(pool.train, FileSamples)
    assert isinstance(pool.test, FileSamples)
    return pool


def names_in(pool: Pool, root: Path) -> tuple[list[str], list[str]]:
    parts = []
    for samples in (pool.train, pool.test):
        assert isinstance(samples, FileSamples)
        parts.append([path.relative_to(root).as_posix() for path in samples.paths])
    return parts[0], parts[1]


@every_set
def test_every_class_has_its_training_and_test_images(name: str, root: Path) -> None:
    pool = read(name, root)
    classes = range(len(NAMES[name]))
    assert Counter(pool.train.targets) == dict.fromkeys(classes, 4)
    assert Counter(pool.test.targets) == dict.fromkeys(classes, 2)


@every_set
def test_class_names_are_words(name: str, root: Path) -> None:
    assert read(name, root).class_names == NAMES[name]


@every_set
def test_no_image_is_both_learned_and_tested(name: str, root: Path) -> None:
    train, test = names_in(read(name, root), root)
    assert not set(train) & set(test)
    assert len({*train, *test}) == len(train) + len(test)


@every_set
def test_every_file_exists_and_opens(name: str, root: Path) -> None:
    pool = read(name, root)
    for samples in (pool.train, pool.test):
        assert isinstance(samples, FileSamples)
        samples.check()
        assert samples[0][0].shape[0] == 3


@every_set
def test_two_readings_agree(name: str, root: Path) -> None:
    assert names_in(read(name, root), root) == names_in(read(name, root), root)


@every_set
def test_an_invented_division_is_said(name: str, root: Path) -> None:
    said = any("no official split" in note for note in read(name, root).notes)
    assert said == (name in UNDIVIDED)


@every_set
def test_a_missing_folder_is_told_with_the_layout(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^{name}: root '.*nowhere' is not a folder; it must hold"
    ):
        torchvision_sets.read(name, str(tmp_path / "nowhere"))  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=rf"^{name}: '.*' is missing in .*get it from torchvision's"
    ):
        torchvision_sets.read(name, str(tmp_path))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@every_set
def test_labels_are_those_of_torchvision(name: str, root: Path) -> None:
    # what the path tells is a second source; torchvision's own labels are the first
    pool = read(name, root)
    assert isinstance(pool.test, FileSamples)
    found = {path.stem: c for path, c in zip(pool.test.paths, pool.test.targets, strict=True)}
    expected = {
        "dtd": lambda: {f"{c}_{i:04d}": k for k, c in enumerate(NAMES["dtd"]) for i in (4, 5)},
        "fgvc_aircraft": lambda: {f"2{c}{i}": c for c in range(4) for i in range(2)},
        "gtsrb": lambda: {f"{i:05d}": i % 43 for i in range(86)},
        "oxford_flowers": lambda: {f"image_{i + 1:05d}": i % 102 for i in range(408, 612)},
        "stanford_cars": lambda: {f"{i:05d}": i % 4 for i in range(8)},
        "voc2007": lambda: {f"{81 + i:06d}": i // 2 for i in range(40)},
    }
    if name in expected:
        assert found == expected[name]()
    else:
        folders = sorted({_class_folder(path, name) for path in pool.test.paths}, key=str)
        if name == "oxford_pets":
            folders.sort(key=str.lower)
        for path, target in zip(pool.test.paths, pool.test.targets, strict=True):
            assert folders[target] == _class_folder(path, name)


def _class_folder(path: Path, name: str) -> str:
    if name == "oxford_pets":
        return path.stem.rsplit("_", 1)[0]
    return path.parent.as_posix()


def test_validation_images_stand_behind_the_training_images(root: Path) -> None:
    train, _ = names_in(read("country211", root), root)
    assert ["/valid/" in name for name in train] == 8 * [False] + 8 * [True]
    train, _ = names_in(read("dtd", root), root)
    assert train[0].endswith("banded_0000.jpg")
    assert train[14].endswith("banded_0002.jpg")


@pytest.mark.parametrize("name", UNDIVIDED)
def test_the_order_of_files_is_not_the_file_systems(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = names_in(read(name, root), root)
    rglob, iterdir = Path.rglob, Path.iterdir
    monkeypatch.setattr(Path, "rglob", lambda *a: iter(sorted(rglob(*a), reverse=True)))
    monkeypatch.setattr(Path, "iterdir", lambda p: iter(sorted(iterdir(p), reverse=True)))
    assert names_in(read(name, root), root) == expected


def test_a_division_leaves_the_other_classes_as_they_are() -> None:
    def test_images(sizes: list[int]) -> list[Path]:
        targets = [c for c, size in enumerate(sizes) for _ in range(size)]
        paths = [Path(f"{c}/{i}") for i, c in enumerate(targets)]
        return divide(Part(paths, targets, ("a", "b")))[1].paths

    assert len(test_images([10, 20])) == 3 + 6
    assert test_images([10, 20])[:3] == test_images([10, 7])[:3]
    assert len(test_images([2, 3])) == 2  # at least one each


def test_a_class_of_one_image_cannot_be_divided() -> None:
    with pytest.raises(UserError, match="class 'a' has 1 image; a class needs at least two"):
        divide(Part([Path("x")], [0], ("a",)))


def test_eurosats_small_images_are_decoded(root: Path) -> None:
    assert read("eurosat", root).load is decoded


def test_transforms_fit_photos_of_any_size(root: Path) -> None:
    pool = read("caltech101", root)
    shapes = {tuple(pool.train[i][0].shape) for i in range(4)}
    assert len(shapes) > 1
    for i in range(4):
        assert pool.train_transform(pool.train[i][0]).shape == (3, 224, 224)
        assert pool.eval_transform(pool.train[i][0]).shape == (3, 224, 224)


def test_the_eval_transform_shows_the_whole_middle_square() -> None:
    _, plain = torchvision_sets.square_transforms(
        32, torchvision_sets.ToFloat(), augment=False, photos=True
    )
    photo = torch.zeros(3, 64, 96, dtype=torch.uint8)
    photo[:, :, 16:80] = 255  # the middle square
    assert plain(photo).amin() > 0.5
    assert plain(photo).mean() > 0.98  # but for the border that antialiasing blurs


# --- voc2007: one label of several objects


def labelled(tmp_path: Path, objects: str) -> int:
    path = tmp_path / "annotation.xml"
    path.write_text(f"<annotation>{objects}</annotation>")
    return torchvision_sets._largest_object(path)


def test_the_largest_object_is_the_label(tmp_path: Path) -> None:
    objects = voc_object("cat", 5) + voc_object("person", 8) + voc_object("dog", 6)
    assert list(class_words.VOC_CLASSES)[labelled(tmp_path, objects)] == "person"


def test_a_difficult_object_counts_where_there_is_no_other(tmp_path: Path) -> None:
    assert labelled(tmp_path, voc_object("bird", 4, difficult=1)) == 2


def test_of_equal_objects_the_first_counts(tmp_path: Path) -> None:
    assert labelled(tmp_path, voc_object("boat", 4) + voc_object("bird", 4)) == 3


@pytest.mark.parametrize(
    "objects", ["", voc_object("wolf", 4), "<object><name>cat</name></object>", "<"]
)
def test_an_annotation_without_a_known_object_is_refused(tmp_path: Path, objects: str) -> None:
    with pytest.raises(UserError, match=r"annotation.xml' has no object of the 20 classes"):
        labelled(tmp_path, objects)


# --- files that contradict each other


def own(name: str, tmp_path: Path) -> Path:
    WRITERS[name](tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file", "content", "sentence"),
    [
        ("dtd", "dtd/dtd/labels/test1.txt", "banded\n", "torchvision's DTD cannot read"),
        ("food101", "food-101/meta/test.json", "{", "torchvision's Food101 cannot read"),
        ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", "x\n", "cannot read"),
        (
            "fgvc_aircraft",
            "fgvc-aircraft-2013b/data/images_variant_test.txt",
            "1 A380\n",
            r"cannot read '.*' \('A380'\); it must hold",
        ),
        ("sun397", "SUN397/ClassName.txt", "/a/abbey\n", "torchvision's SUN397 cannot read"),
        ("gtsrb", "gtsrb/GT-final_test.csv", "Filename;ClassId\na.ppm;43\n", "number 43, but"),
        ("dtd", "dtd/dtd/labels/test1.txt", "banded/a.jpg\n", "different classes"),
        ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", "../../x_1 1 1 1\n", "classes"),
    ],
)
def test_a_bad_list_is_refused(
    tmp_path: Path, name: str, file: str, content: str, sentence: str
) -> None:
    root = own(name, tmp_path)
    (root / file).write_text(content)
    with pytest.raises(UserError, match=sentence):
        read(name, root)


@pytest.mark.parametrize("path", ["/etc/x", "../../../../x"])
def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    root = own("fgvc_aircraft", tmp_path)
    file = root / "fgvc-aircraft-2013b/data/images_variant_val.txt"
    file.write_text(f"{path} A318\n")
    with pytest.raises(UserError, match="outside"):
        read("fgvc_aircraft", root)


def test_a_missing_class_folder_does_not_shift_the_signs(tmp_path: Path) -> None:
    root = own("gtsrb", tmp_path)
    shutil.rmtree(root / "gtsrb/GTSRB/Training/00005")
    pool = read("gtsrb", root)
    assert 5 not in pool.train.targets
    assert max(pool.train.targets) == 42


def test_a_foreign_checksum_of_the_flowers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets.flowers102, "check_integrity", lambda *_: False)
    with pytest.raises(UserError, match=r"Flowers102 cannot read .*Dataset not found or corrupted"):
        read("oxford_flowers", own("oxford_flowers", tmp_path))
