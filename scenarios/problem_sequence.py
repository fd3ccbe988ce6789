"""Sequences of problems that share pictures or patterns, after the BELL suite of the PICLE paper.

Valkov et al., ICLR 2024, arXiv 2306.06545. A problem shows two pictures from a domain of eight
classes and asks whether the pair is in a pattern. Each class is a coordinate, so a pair is a cell
of an 8 x 8 grid. A session is a problem, and each sequence tests one ability:

    S_pl               all problems different                                    plasticity
    S_minus, S_plus    the last is the first with less or more data              reuse of all
    S_out              the last has the first one's pictures, a new pattern      perceptual transfer
    S_out_star         the second too, with more data than the first             the better of two
    S_out_star_star    the same, and the last is the first problem again
    S_in               the last has the first one's pattern, new pictures        latent transfer
    S_sp               S_in, with the last pictures used as vectors (below)
    S_few              single pictures, then pairs; the last has few items       few-shot transfer

Differences from the paper, to allow training on a CPU:
    - S_long, 100 problems of mixed sizes, and the CTrL streams are not built;
    - pictures are the handwritten characters in the package, 28 domains of eight characters of one
      alphabet, instead of nine domains of MNIST-like pictures. A class has ten drawings to learn
      from; distorting them replaces having many;
    - items: 3000 instead of 30000 ("+"); 1000 of few drawings ("-", 100 pictures in the paper) or
      of 15 of the 64 pairs ("-lat") instead of 10000; 20 ("few");
    - the paper validates on 5000 additional items. Here the last `validation_rate` of each class's
      items use two separate drawings and show all pairs. A method may hold them out, as `picle`
      does; a method that trains on everything learns from them too;
    - the 15 pairs are drawn with both labels; the authors' code uses the first of the grid;
    - S_sp is the stream of S_in. The strategy treats the last session's pictures as vectors:
      `--strategy.flat_sessions [5]` for `picle`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from cl_suite.data.holdout import num_held_out
from cl_suite.data.readers.omniglot import TRAIN_DRAWINGS
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, RandomAffine, ToFloat, Transform
from cl_suite.errors import UserError
from cl_suite.parameters import Parameters, Within
from cl_suite.scenarios.picture_pairs import (
    NUM_CLASSES,
    NUM_MAPS,
    PATTERNS,
    VALIDATION_DRAWINGS,
    EachImage,
    Items,
    PatternName,
    Pictures,
    alone,
    few_cells,
    grid,
    paired,
    split_drawings,
)

SequenceName = Literal[
    "S_pl",
    "S_minus",
    "S_plus",
    "S_out",
    "S_out_star",
    "S_out_star_star",
    "S_in",
    "S_sp",
    "S_few",
]
Size = Literal["plus", "minus", "latent", "few", "images"]
Problem = tuple[int, int | None, Size]  # domain, task (None: single pictures), amount of data


@dataclass(kw_only=True, eq=False)
class ProblemSequence(Parameters):
    """Problems on pairs of handwritten characters, two classes a session: "no" and "yes".

    An item is a tensor `(2, 28, 28)` in [0, 1] with one picture a channel. In the first two
    sessions of S_few it is one picture next to a blank one, and the eight classes are the
    characters. Domains, patterns and items are drawn from `seed`.

    Args:
        sequence: name of the sequence.
        length: number of problems; S_few has six.
        patterns: patterns to draw from, each with four maps from classes to coordinates; null for
            xor, circle, x and square.
        plus_items, minus_items, few_items, image_items: training items of a session, by its size.
        minus_drawings: drawings of each class in sessions with less data ("-"), 1 to 8.
        validation_rate: share of each class's items, the last ones, made of separate drawings.
        test_items: test items of each session of pairs, with drawings that no training item shows.
        augment: distort each picture of a training item separately, at random.
        seed: seed of all random draws.
    """

    sequence: SequenceName = "S_pl"
    length: Annotated[int, Within(1)] = 6
    patterns: list[PatternName] | None = None
    plus_items: Annotated[int, Within(2)] = 3000
    minus_items: Annotated[int, Within(2)] = 1000
    few_items: Annotated[int, Within(2)] = 20
    image_items: Annotated[int, Within(NUM_CLASSES)] = 800
    minus_drawings: Annotated[int, Within(1, TRAIN_DRAWINGS - VALIDATION_DRAWINGS)] = 3
    validation_rate: Annotated[float, Within(0, 0.9)] = 0.2
    test_items: Annotated[int, Within(2)] = 600
    augment: bool = True
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter is out of range."""
        pictures = Pictures.read()
        problems = self._problems(len(pictures.domains))
        rng = np.random.default_rng(self.seed)
        domains = rng.permutation(len(pictures.domains))
        tasks = rng.permutation(len(self._patterns()) * NUM_MAPS)
        names: list[str] = []
        sessions: list[list[int]] = []
        train: list[TensorSamples] = []
        test: list[TensorSamples] = []
        for number, (domain, task, size) in enumerate(problems):
            rows = pictures.domains[domains[domain]]
            first = len(names)
            if task is None:
                names += [f"problem {number}: {pictures.names[row]}" for row in rows]
                parts = self._images(pictures, rows)
            else:
                names += [f"problem {number}: no", f"problem {number}: yes"]
                parts = self._pairs(pictures, rows, self._grid(int(tasks[task])), size, rng)
            sessions.append(list(range(first, len(names))))
            for samples, (items, labels) in zip((train, test), parts, strict=True):
                samples.append(TensorSamples(items, [first + label for label in labels]))
        plain = ToFloat()
        distort: Transform = Compose((plain, EachImage(RandomAffine())))
        return build_stream(
            name="problem_sequence",
            class_names=names,
            session_classes=sessions,
            train=train,
            test=test,
            train_transform=distort if self.augment else plain,
            eval_transform=plain,
            way=2 if self.sequence != "S_few" else None,
        )

    def _problems(self, num_domains: int) -> list[Problem]:
        longest = min(len(self._patterns()) * NUM_MAPS, num_domains)
        fitting = (6, 6) if self.sequence == "S_few" else (4, longest)
        if not fitting[0] <= self.length <= fitting[1]:
            raise UserError(
                f"length of {self.sequence} must lie in {fitting[0]} to {fitting[1]}, got "
                f"{self.length}"
            )
        return outline(self.sequence, self.length)

    def _patterns(self) -> list[str]:
        chosen: list[str] = list(PATTERNS if self.patterns is None else self.patterns)
        if not chosen or len(set(chosen)) < len(chosen):
            raise UserError(f"patterns must name at least one pattern, each once, got {chosen}")
        return chosen

    def _grid(self, task: int) -> Tensor:
        """Return the label `(8, 8)` of each pair of classes in a task."""
        pattern, number = divmod(task, NUM_MAPS)
        name = self._patterns()[pattern]
        return grid(name, number)

    def _images(self, pictures: Pictures, rows: Sequence[int]) -> list[Items]:
        each = max(1, self.image_items // NUM_CLASSES)
        held = num_held_out(each, self.validation_rate)
        train, test = pictures.train[list(rows)], pictures.test[list(rows)]
        learnt, others = split_drawings(train)
        rounds = [learnt[:, i % learnt.shape[1]] for i in range(each - held)]
        rounds += [others[:, i % others.shape[1]] for i in range(held)]
        return [alone(torch.stack(rounds)), alone(test.transpose(0, 1))]

    def _pairs(
        self,
        pictures: Pictures,
        rows: Sequence[int],
        labels: Tensor,
        size: Size,
        rng: np.random.Generator,
    ) -> list[Items]:
        num = {"plus": self.plus_items, "few": self.few_items}.get(size, self.minus_items) // 2
        held = num_held_out(num, self.validation_rate)
        train, test = pictures.train[list(rows)], pictures.test[list(rows)]
        learnt, others = split_drawings(train)
        if size == "minus":
            learnt = learnt[:, : self.minus_drawings]
        shown = few_cells(labels, rng) if size == "latent" else torch.ones(8, 8, dtype=torch.bool)
        first = paired(learnt, labels, shown, num - held, rng)
        last = paired(others, labels, torch.ones(8, 8, dtype=torch.bool), held, rng)
        both = torch.cat([first[0], last[0]]), first[1] + last[1]
        every = torch.ones(8, 8, dtype=torch.bool)
        return [both, paired(test, labels, every, self.test_items // 2, rng)]


def _last_again(n: int) -> list[int]:
    return [*range(n - 1), 0]


def _twice_and_last(n: int) -> list[int]:
    return [0, *range(n - 2), 0]


def outline(sequence: str, n: int) -> list[Problem]:
    """Return domain, task (in order of drawing) and size of each of a sequence's `n` problems."""
    if sequence == "S_few":
        return [
            (0, None, "images"),
            (1, None, "images"),
            (2, 0, "minus"),
            (0, 1, "minus"),
            (3, 2, "minus"),
            (1, 1, "few"),
        ]
    domains, tasks, sizes = OUTLINES[sequence]
    numbers = {"new": list(range(n)), "last": _last_again(n), "twice": _twice_and_last(n)}
    first, second, later, last = sizes
    by_session: list[Size] = [first, second, *[later] * (n - 3), last]
    return list(zip(numbers[domains], numbers[tasks], by_session, strict=True))


# domains and tasks: "new" all different; "last" the last equals the first; "twice" the first two
# and the last are equal. Sizes: of the first, the second, the other and the last session
OUTLINES: dict[str, tuple[str, str, tuple[Size, Size, Size, Size]]] = {
    "S_pl": ("new", "new", ("plus", "plus", "plus", "plus")),
    "S_minus": ("last", "last", ("plus", "minus", "minus", "minus")),
    "S_plus": ("last", "last", ("minus", "minus", "minus", "plus")),
    "S_out": ("last", "new", ("plus", "minus", "minus", "minus")),
    "S_out_star": ("twice", "new", ("minus", "plus", "minus", "minus")),
    "S_out_star_star": ("twice", "last", ("minus", "plus", "minus", "minus")),
    "S_in": ("new", "last", ("plus", "plus", "plus", "latent")),
    "S_sp": ("new", "last", ("plus", "plus", "plus", "latent")),
    "S_few": ("new", "new", ("images", "images", "minus", "few")),
}
