"""Tiny copies of miniImageNet and CUB-200, with the published lists' file names."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cl_suite.data.readers import published


def write_image(path: Path, colour: int = 0, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour % 256, 40, 200)).save(path)


def write_mini_imagenet(root: Path) -> Path:
    listed = [Path(line.entry) for line in published.load("mini_imagenet")]
    base = [f"n{number:08d}" for number in range(60)]
    novel = list(dict.fromkeys(path.parent.name for path in listed))
    train = [(f"{label}{i:08d}.jpg", label) for label in base for i in range(3)]
    train += [(path.name, path.parent.name) for path in listed]
    test = [(f"{label}9{i:07d}.jpg", label) for label in [*base, *novel] for i in range(2)]
    for part, rows in (("train", train), ("test", test)):
        lines = ["filename,label", *(f"{name},{label}" for name, label in rows)]
        (root / "split").mkdir(parents=True, exist_ok=True)
        (root / "split" / f"{part}.csv").write_text("\n".join(lines) + "\n")
        for index, (name, _) in enumerate(rows):
            write_image(root / "images" / name, index)
    return root


def write_cub200(root: Path) -> Path:
    listed = [line.entry.removeprefix("CUB_200_2011/images/") for line in published.load("cub200")]
    base = [f"{number:03d}.Base_bird" for number in range(1, 101)]
    classes = [*base, *dict.fromkeys(entry.split("/")[0] for entry in listed)]
    train = [f"{name}/{name}_{i}.jpg" for name in base for i in range(2)] + listed
    test = [f"{name}/test_{i}.jpg" for name in classes for i in range(2)]
    images = [(path, "1") for path in train] + [(path, "0") for path in test]
    number = {name: i for i, name in enumerate(classes, start=1)}
    tables = {
        "classes": list(classes),
        "images": [path for path, _ in images],
        "train_test_split": [part for _, part in images],
        "image_class_labels": [str(number[path.split("/")[0]]) for path, _ in images],
    }
    for index, (path, _) in enumerate(images):
        write_image(root / "images" / path, index, size=(12 + index % 3, 10))
    for name, values in tables.items():
        lines = [f"{i} {value}" for i, value in enumerate(values, start=1)]
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root
