"""Generated pictures in the layouts of the data sets that torchvision reads, and of RESISC45.

All sets lie side by side in one root. A class has 4 training images (2 and 2 where there is a
validation part) and 2 test images, or 6 where nobody divided the data set.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from cl_suite.data.readers.class_words import VOC_CLASSES

DTD = ("banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed")
PARTS = ("train", "val", "test")


def picture(path: Path, colour: int, size: tuple[int, int] = (9, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (37 * colour % 256, 11 * colour % 256, 90)).save(path)


def text(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def folders(
    folder: Path, classes: Sequence[str], images: int, name: str = "{}.jpg", side: int = 0
) -> None:
    for class_id, class_name in enumerate(classes):
        for i in range(images):
            size = (side, side) if side else (9 + i % 3, 8)
            picture(folder / class_name / name.format(i), 7 * class_id + i, size)


def write_caltech101(root: Path) -> None:
    names = ("BACKGROUND_Google", "Faces_easy", "accordion", "water_lilly")
    folders(root / "caltech101/101_ObjectCategories", names, 6, "image_000{}.jpg")


def write_country211(root: Path) -> None:
    for part in ("train", "valid", "test"):
        folders(root / "country211" / part, ("AD", "FR", "XK", "ZZ"), 2, part + "{}.jpg")


def write_dtd(root: Path) -> None:
    folder = root / "dtd/dtd"
    for number, part in enumerate(PARTS):
        names = [f"{c}/{c}_{2 * number + i:04d}.jpg" for c in DTD for i in range(2)]
        for colour, name in enumerate(names):
            picture(folder / "images" / name, colour)
        text(folder / f"labels/{part}1.txt", names)


def write_eurosat(root: Path) -> None:
    names = ("AnnualCrop", "HerbaceousVegetation", "SeaLake", "Forest")
    folders(root / "eurosat/2750", names, 6, side=8)


def write_fgvc_aircraft(root: Path) -> None:
    folder, names = (
        root / "fgvc-aircraft-2013b/data",
        ("707-320", "A318", "DHC-8-100", "Eurofighter Typhoon"),
    )
    text(folder / "variants.txt", names)
    for number, part in enumerate(PARTS):
        lines = []
        for class_id, name in enumerate(names):
            for i in range(2):
                image = f"{number}{class_id}{i}"
                picture(folder / f"images/{image}.jpg", int(image))
                lines.append(f"{image} {name}")
        text(folder / f"images_variant_{part}.txt", lines)


def write_food101(root: Path) -> None:
    folder, classes = root / "food-101", ("apple_pie", "baklava", "beef_tartare", "waffles")
    for first, count, part in ((0, 4, "train"), (4, 2, "test")):
        table = {c: [f"{c}/{first + i}" for i in range(count)] for c in classes}
        for colour, name in enumerate(name for names in table.values() for name in names):
            picture(folder / f"images/{name}.jpg", colour)
        text(folder / f"meta/{part}.json", [json.dumps(table)])


def write_gtsrb(root: Path) -> None:
    folder = root / "gtsrb"
    folders(folder / "GTSRB/Training", [f"{c:05d}" for c in range(43)], 4, "00000_0000{}.ppm")
    rows = [(f"{number:05d}.ppm", str(number % 43)) for number in range(86)]
    for number, (name, _) in enumerate(rows):
        picture(folder / "GTSRB/Final_Test/Images" / name, number)
    with (folder / "GT-final_test.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([("Filename", "ClassId"), *rows])


def write_oxford_flowers(root: Path) -> None:
    folder, numbers = root / "flowers-102", np.arange(612)
    for number in numbers.tolist():
        picture(folder / f"jpg/image_{number + 1:05d}.jpg", number)
    thirds = (numbers + 1).reshape(3, 204)
    (folder).mkdir(exist_ok=True)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": numbers % 102 + 1})
    keys = ("trnid", "valid", "tstid")
    scipy.io.savemat(folder / "setid.mat", dict(zip(keys, thirds, strict=True)))


def write_oxford_pets(root: Path) -> None:
    folder, names = (
        root / "oxford-iiit-pet",
        ("Abyssinian", "american_bulldog", "Bengal", "yorkshire_terrier"),
    )
    for first, count, part in ((0, 4, "trainval"), (4, 2, "test")):
        lines = []
        for class_id, name in enumerate(names):
            for i in range(first, first + count):
                picture(folder / f"images/{name}_{i}.jpg", 9 * class_id + i)
                lines.append(f"{name}_{i} {class_id + 1} 1 1")
        text(folder / f"annotations/{part}.txt", lines)


def write_stanford_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    names = (
        "AM General Hummer SUV 2000",
        "Acura RL Sedan 2012",
        "BMW M3 Coupe 2012",
        "smart fortwo",
    )
    (folder / "devkit").mkdir(parents=True)
    meta = np.array(names, dtype=object)
    scipy.io.savemat(folder / "devkit/cars_meta.mat", {"class_names": meta})
    for count, part, file in (
        (4, "train", "devkit/cars_train_annos.mat"),
        (2, "test", "cars_test_annos_withlabels.mat"),
    ):
        rows = [(f"{i:05d}.jpg", i % 4 + 1) for i in range(4 * count)]
        for colour, (name, _) in enumerate(rows):
            picture(folder / f"cars_{part}" / name, colour)
        annotations = np.array(rows, dtype=[("fname", object), ("class", object)])
        scipy.io.savemat(folder / file, {"annotations": annotations})


def write_sun397(root: Path) -> None:
    folder = root / "SUN397"
    names = ("/a/abbey", "/a/apartment_building/outdoor", "/b/bar", "/z/zen_garden")
    text(folder / "ClassName.txt", names)
    folders(folder, [name[1:] for name in names], 6, "sun_{}.jpg")


def voc_object(name: str, side: int, difficult: int = 0) -> str:
    box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{side}</xmax><ymax>{side}</ymax>"
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{box}</bndbox></object>"
    )


def write_voc2007(root: Path) -> None:
    folder, names = root / "VOCdevkit/VOC2007", list(VOC_CLASSES)
    number = 0
    for part, count in (("trainval", 4), ("test", 2)):
        lines = []
        for name in names:
            for _ in range(count):
                number += 1
                lines.append(f"{number:06d}")
                picture(folder / f"JPEGImages/{number:06d}.jpg", number)
                # a larger object that is difficult, and a smaller one that is not, do not count
                found = voc_object("cow", 9, 1) + voc_object("sofa", 3) + voc_object(name, 6)
                text(
                    folder / f"Annotations/{number:06d}.xml", [f"<annotation>{found}</annotation>"]
                )
        text(folder / f"ImageSets/Main/{part}.txt", lines)


def write_resisc45(root: Path) -> None:
    names = ("airplane", "baseball_diamond", "wetland", "sea_ice")
    folders(root / "NWPU-RESISC45", names, 6, "image_{}.jpg", side=8)


WRITERS = {
    "caltech101": write_caltech101,
    "country211": write_country211,
    "dtd": write_dtd,
    "eurosat": write_eurosat,
    "fgvc_aircraft": write_fgvc_aircraft,
    "food101": write_food101,
    "gtsrb": write_gtsrb,
    "oxford_flowers": write_oxford_flowers,
    "oxford_pets": write_oxford_pets,
    "resisc45": write_resisc45,
    "stanford_cars": write_stanford_cars,
    "sun397": write_sun397,
    "voc2007": write_voc2007,
}


def write_all(root: Path) -> Path:
    for write in WRITERS.values():
        write(root)
    return root
