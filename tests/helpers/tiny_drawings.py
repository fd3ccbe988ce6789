"""Some of the packaged Omniglot drawings as files, in the layouts of Omniglot."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from PIL import Image

from cl_suite.data.readers import omniglot


def write_drawings(root: Path, classes: range, layout: str = "{alphabet}/{character}") -> Path:
    """Write the 20 drawings of these classes as PNG files of 1 bit, in 105 x 105 pixels."""
    with resources.as_file(resources.files("cl_suite.data.assets") / omniglot.ASSET) as path:
        ink, names = omniglot.unpack(path)
    for class_id in classes:
        alphabet, character = names[class_id].split("/")
        folder = root / layout.format(alphabet=alphabet, character=character)
        folder.mkdir(parents=True, exist_ok=True)
        for number, drawing in enumerate(ink[class_id], start=1):
            Image.fromarray(~drawing).save(folder / f"{class_id:04d}_{number:02d}.png")
    return root
