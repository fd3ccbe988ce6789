"""The images of a folder of class folders that are used, and where each of them lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cl_suite.data.readers.class_folders import Findings
from cl_suite.data.samples import FileSamples


@dataclass(frozen=True)
class Image:
    """One image file of a class.

    Attributes:
        path, class_name: the file and its class folder's name.
        part: "test" or "train" if the folder is divided, else "".
        key: equal for equal pictures alone.
    """

    path: Path
    class_name: str
    part: str
    key: bytes


@dataclass
class Folder:
    """A folder of class folders, and those of its images that are used.

    Attributes:
        test_path: folder of the images to test on, if it is another one.
    """

    path: Path
    test_path: Path | None
    findings: Findings
    images: list[Image] = field(default_factory=list)

    def rows(self, name: str, part: str = "") -> list[int]:
        """Return the positions of a class's images, of one part if the folder is divided."""
        return [
            row
            for row, image in enumerate(self.images)
            if image.class_name == name and image.part in (part, "")
        ]

    def name_of(self, image: Image, domain: str = "") -> str:
        """Return what a note calls an image."""
        if self._is_elsewhere(image):
            return image.path.as_posix()
        return (Path(domain) / image.path.relative_to(self.path)).as_posix()

    def samples(self, rows: Sequence[int]) -> FileSamples:
        """Return images of one part; class ids follow the sorted names."""
        ids = {name: class_id for class_id, name in enumerate(sorted(self.findings.images))}
        images = [self.images[row] for row in rows]
        top = self.test_path if images and self._is_elsewhere(images[0]) else self.path
        assert top is not None
        return FileSamples([i.path for i in images], [ids[i.class_name] for i in images], top)

    def _is_elsewhere(self, image: Image) -> bool:
        return self.test_path is not None and image.part == "test"
