"""What an export reports: the files, and how far their answers are from PyTorch's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Check:
    """The largest differences between ONNX Runtime and PyTorch on pictures.

    Attributes:
        num_pictures: number of pictures, each in its own size, and some in others.
        sizes: heights and widths of the inputs.
        batch_sizes: pictures that were given at once.
        num_compared: answers that were compared.
        probabilities: largest difference of a probability.
        familiarity: largest difference of a familiarity, as a share of their range.
        num_other_label: answers with another best label.
        num_other_unknown: answers that one of both alone calls unknown.
        prepared: largest difference of a prepared pixel, as a share of their range; 1 / 255 is one
            level. Resizing rounds otherwise in few places.
        network_probabilities, network_familiarity: the same differences if PyTorch goes on from the
            pixels that the graph prepared: the network and the classifier alone.
        row: largest difference of a new class's key, as a share of its length; None for an export
            that does not grow.
    """

    num_pictures: int
    sizes: tuple[tuple[int, int], ...]
    batch_sizes: tuple[int, ...]
    num_compared: int
    probabilities: float
    familiarity: float
    num_other_label: int
    num_other_unknown: int
    prepared: float
    network_probabilities: float
    network_familiarity: float
    row: float | None = None

    def in_words(self) -> str:
        """Return one sentence."""
        return (
            f"checked with ONNX Runtime against PyTorch on {self.num_pictures} pictures in "
            f"{len(self.sizes)} sizes: probabilities differ by at most {self.probabilities:.1e} "
            f"({self.network_probabilities:.1e} without the resizing of pictures), and "
            f"{self.num_other_label} of {self.num_compared} best labels"
        )


@dataclass(frozen=True)
class Exported:
    """An exported classifier.

    Attributes:
        path: the ONNX file.
        classes_path: the file with the rows of a growing export; None otherwise.
        input: `image` (uint8 pictures of any size) or `prepared` (floats that the caller prepares).
        dtype: number format of the backbone, `float32` or `float16`.
        num_bytes: size of the ONNX file.
        num_classes: number of classes.
        check: comparison with PyTorch.
        tolerance: largest `network_probabilities` and `network_familiarity` that would pass.
        notes: sentences that a user of the file should know.
    """

    path: Path
    classes_path: Path | None
    input: str
    dtype: str
    num_bytes: int
    num_classes: int
    check: Check
    tolerance: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        classes = self.classes_path
        return {**asdict(self), "path": str(self.path), "classes_path": classes and str(classes)}

    def in_words(self) -> str:
        """Return lines for a terminal."""
        lines = [
            f"{self.path}: {self.num_classes} classes, {self.dtype}, "
            f"{self.num_bytes / 2**20:.1f} MiB, input '{self.input}'",
            self.check.in_words(),
        ]
        if self.classes_path is not None:
            lines.append(f"{self.classes_path}: the rows of the classes, to which you may add more")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
