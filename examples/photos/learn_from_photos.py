"""Learn the classes of a folder of photos, then name the class of one picture.

    python learn_from_photos.py [FOLDER] [--base-classes 4] [--out runs]

FOLDER holds one folder of pictures a class. The first classes are learned together, the others two
at a time from five pictures each. Without FOLDER the program draws small pictures itself.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cl_suite.cli import main
from cl_suite.data.samples import read_image
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.saved_model import load_model
from cl_suite.scenarios import ImageFolder

COLOURS = ("red", "green", "blue", "gold")
PICTURES = (".jpg", ".jpeg", ".png")
IMAGE_SIZE = 28


def draw_pictures(folder: Path, *, per_class: int = 20) -> None:
    """Draw discs and squares of four colours, a class each, at random places."""
    rng = np.random.default_rng(0)
    for shape in ("disc", "square"):
        for colour in COLOURS:
            target = folder / f"{colour} {shape}"
            target.mkdir(parents=True)
            for number in range(per_class):
                image = Image.fromarray(rng.integers(0, 80, (40, 40, 3), dtype=np.uint8))
                x, y = rng.integers(2, 14, 2).tolist()
                pen = ImageDraw.Draw(image)
                draw = pen.ellipse if shape == "disc" else pen.rectangle
                draw((x, y, x + 22, y + 22), fill=colour)
                image.save(target / f"{number}.png")


def learn(photos: Path, base_classes: int, out: Path) -> Path:
    """Run nearest class means on the folder and return the run's folder."""
    options = {
        "scenario.root": photos,
        "scenario.base_classes": base_classes,
        "scenario.way": 2,
        "scenario.image_size": IMAGE_SIZE,
        "training.batch_size": 16,
        "out": out,
        # for real photos: "model.backbone": "resnet18", "model.pretrained": "true"
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    code = main(["run", "image_folder", "prototype", *words, "--overwrite"])
    if code:
        raise SystemExit(code)
    return out / "image_folder" / "prototype" / "seed0"


def name_of(picture: Path, photos: Path, base_classes: int, run: Path) -> str:
    """Return the class that the finished model gives a picture."""
    saved = load_model(RunFolder(run))
    scenario = ImageFolder(root=str(photos), base_classes=base_classes, image_size=IMAGE_SIZE)
    prepare = scenario.build().info.eval_transform
    with torch.no_grad():
        scores = saved.classifier(prepare(read_image(picture))[None])
    return saved.class_names[int(scores.argmax())]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--base-classes", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "pictures"
        if given.folder is None:
            draw_pictures(folder)
        finished = learn(folder, given.base_classes, given.out)
        one = min(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
        print(f"{one.parent.name}/{one.name}:", name_of(one, folder, given.base_classes, finished))
