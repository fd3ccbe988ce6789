"""Building blocks of problems on picture pairs: domains of characters and patterns on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cl_suite.data.readers import omniglot
from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import RandomAffine

PatternName = Literal["xor", "circle", "x", "square"]
NUM_CLASSES = 8  # in a domain
NUM_MAPS = 4  # from classes to coordinates; the first is the identity
NUM_PAIRS = 15  # pairs that a session of few pairs shows, of 64
VALIDATION_DRAWINGS = 2  # the last drawings of each class
PATTERNS: dict[str, tuple[str, ...]] = {
    "xor": ("....####",) * 4 + ("####....",) * 4,
    "circle": (
        "........",
        "..####..",
        ".######.",
        ".######.",
        ".######.",
        ".######.",
        "..####..",
        "........",
    ),
    "x": (
        "#......#",
        ".##..##.",
        ".######.",
        "..####..",
        "..####..",
        ".######.",
        ".##..##.",
        "#......#",
    ),
    "square": (
        "########",
        "#......#",
        "#......#",
        "#..##..#",
        "#..##..#",
        "#......#",
        "#......#",
        "########",
    ),
}
Items = tuple[Tensor, list[int]]  # (n, 2, 28, 28) uint8 and labels counted from 0


@dataclass(frozen=True)
class EachImage:
    """Transform each channel of an item as a separate image."""

    transform: RandomAffine
    batched: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        images = self.transform(x.reshape(-1, 1, *x.shape[-2:]))
        return images.reshape(x.shape)


@dataclass(frozen=True)
class Pictures:
    """Drawings `(classes, 10, 28, 28)` by class, and the classes of each domain."""

    train: Tensor
    test: Tensor
    names: tuple[str, ...]
    domains: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls) -> Pictures:
        """Return the package's characters; each alphabet is cut into domains of eight."""
        pool = omniglot.read()
        assert isinstance(pool.train, TensorSamples)
        assert isinstance(pool.test, TensorSamples)
        by_alphabet: dict[str, list[int]] = {}
        for row, name in enumerate(pool.class_names):
            by_alphabet.setdefault(name.partition("/")[0], []).append(row)
        domains = [
            tuple(rows[start : start + NUM_CLASSES])
            for rows in by_alphabet.values()
            for start in range(0, len(rows) - NUM_CLASSES + 1, NUM_CLASSES)
        ]
        size, num = omniglot.IMAGE_SIZE, len(pool.class_names)
        return cls(
            train=pool.train.inputs.reshape(num, -1, size, size),
            test=pool.test.inputs.reshape(num, -1, size, size),
            names=pool.class_names,
            domains=tuple(domains),
        )


def grid(pattern: str, number: int) -> Tensor:
    """Return the labels `(8, 8)` of a pattern; map `number` permutes the coordinates (0: none)."""
    cells = torch.tensor([[cell == "#" for cell in row] for row in PATTERNS[pattern]])
    if number == 0:
        return cells
    draw = np.random.default_rng([list(PATTERNS).index(pattern), number])
    order = torch.from_numpy(draw.permutation(NUM_CLASSES))
    return cells[order][:, order]


def split_drawings(drawings: Tensor) -> tuple[Tensor, Tensor]:
    """Return the training drawings `(classes, n, ...)` to learn from and the held-out ones."""
    return drawings[:, :-VALIDATION_DRAWINGS], drawings[:, -VALIDATION_DRAWINGS:]


def few_cells(labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a mask `(8, 8)` of 15 drawn pairs, as balanced between the labels as possible."""
    shown = torch.zeros_like(labels)
    for label, num in ((False, NUM_PAIRS // 2), (True, NUM_PAIRS - NUM_PAIRS // 2)):
        cells = (labels == label).nonzero()
        chosen = cells[torch.from_numpy(rng.permutation(len(cells))[:num])]
        shown[chosen[:, 0], chosen[:, 1]] = True
    return shown


def paired(
    drawings: Tensor, labels: Tensor, shown: Tensor, each: int, rng: np.random.Generator
) -> Items:
    """Return `each` items of either label, in alternation, cycling through the pairs shown."""
    items, num = [], drawings.shape[1]
    for label in (False, True):
        cells = ((labels == label) & shown).nonzero()  # (cells, 2)
        order = np.concatenate([rng.permutation(len(cells)) for _ in range(each // len(cells) + 1)])
        pairs = cells[torch.from_numpy(order[:each].astype(np.int64))]
        which = torch.from_numpy(rng.integers(num, size=(each, 2)))
        items.append(drawings[pairs, which])  # (each, 2, 28, 28)
    mixed = torch.stack(items, dim=1).flatten(0, 1)
    return mixed.contiguous(), [0, 1] * each


def alone(rounds: Tensor) -> Items:
    """Return pictures `(n, classes, 28, 28)` as items whose second picture is blank."""
    pictures = rounds.flatten(0, 1)[:, None]
    items = torch.cat([pictures, torch.zeros_like(pictures)], dim=1)
    return items, list(range(rounds.shape[1])) * len(rounds)
