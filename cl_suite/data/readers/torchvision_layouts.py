"""Folder layouts of eleven torchvision data sets, and the attributes that hold paths and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cl_suite.data.readers.class_words import VOC_CLASSES, country, scene, spaced, words

Options = Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """One data set's layout on disk, and the attributes of its torchvision object.

    Attributes:
        kind: class of `torchvision.datasets`.
        layout: files and folders that must lie in the root.
        train: options of each part for training, the official training part first.
        test: options of the test part; None if the data set has no official split.
        files: attribute that holds paths, or pairs of path and class id.
        labels: attribute that holds class ids; "" if `files` holds them or there are none.
        say: turns torchvision's class name into words.
    """

    kind: str
    layout: tuple[str, ...]
    train: tuple[Options, ...]
    test: Options | None
    files: str
    labels: str = ""
    say: Callable[[str], str] = str


TRAIN_VAL: tuple[Options, ...] = ({"split": "train"}, {"split": "val"})
TEST: Options = {"split": "test"}
VOC = "VOCdevkit/VOC2007"
# the only place that uses torchvision's private names
SOURCES: dict[str, Source] = {
    "country211": Source(
        "Country211",
        ("country211/train/", "country211/valid/", "country211/test/"),
        ({"split": "train"}, {"split": "valid"}),
        TEST,
        "samples",
        say=country,
    ),
    "dtd": Source(
        "DTD",
        ("dtd/dtd/images/", *(f"dtd/dtd/labels/{p}1.txt" for p in ("train", "val", "test"))),
        TRAIN_VAL,
        TEST,
        "_image_files",
        "_labels",
        words,
    ),
    "eurosat": Source("EuroSAT", ("eurosat/2750/",), ({},), None, "samples", say=spaced),
    "fgvc_aircraft": Source(
        "FGVCAircraft",
        (
            "fgvc-aircraft-2013b/data/images/",
            "fgvc-aircraft-2013b/data/variants.txt",
            *(f"fgvc-aircraft-2013b/data/images_variant_{p}.txt" for p in ("train", "val", "test")),
        ),
        TRAIN_VAL,
        TEST,
        "_image_files",
        "_labels",
    ),
    "food101": Source(
        "Food101",
        ("food-101/images/", "food-101/meta/train.json", "food-101/meta/test.json"),
        ({"split": "train"},),
        TEST,
        "_image_files",
        "_labels",
        words,
    ),
    "gtsrb": Source(
        "GTSRB",
        ("gtsrb/GTSRB/Training/", "gtsrb/GTSRB/Final_Test/Images/", "gtsrb/GT-final_test.csv"),
        ({"split": "train"},),
        TEST,
        "_samples",
    ),
    "oxford_flowers": Source(
        "Flowers102",
        ("flowers-102/jpg/", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
        TRAIN_VAL,
        TEST,
        "_image_files",
        "_labels",
        lambda name: name.strip("?"),
    ),
    "oxford_pets": Source(
        "OxfordIIITPet",
        (
            "oxford-iiit-pet/images/",
            "oxford-iiit-pet/annotations/trainval.txt",
            "oxford-iiit-pet/annotations/test.txt",
        ),
        ({"split": "trainval"},),
        TEST,
        "_images",
        "_labels",
    ),
    "stanford_cars": Source(
        "StanfordCars",
        (
            "stanford_cars/cars_train/",
            "stanford_cars/cars_test/",
            "stanford_cars/devkit/cars_meta.mat",
            "stanford_cars/devkit/cars_train_annos.mat",
            "stanford_cars/cars_test_annos_withlabels.mat",
        ),
        ({"split": "train"},),
        TEST,
        "_samples",
    ),
    "sun397": Source(
        "SUN397", ("SUN397/ClassName.txt",), ({},), None, "_image_files", "_labels", scene
    ),
    "voc2007": Source(
        "VOCDetection",
        (
            f"{VOC}/JPEGImages/",
            f"{VOC}/Annotations/",
            f"{VOC}/ImageSets/Main/trainval.txt",
            f"{VOC}/ImageSets/Main/test.txt",
        ),
        ({"year": "2007", "image_set": "trainval"},),
        {"year": "2007", "image_set": "test"},
        "images",
        say=lambda name: VOC_CLASSES[name],
    ),
}
