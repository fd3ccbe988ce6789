"""Episodes for meta-training by gradient steps: drawn base classes are learned in stages.

All random choices are a pure function of labels and generator. A plan fixes the episodes' shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cl_suite.methods.episodes.meta_learning import Stage

TemplateStep = Literal["none", "end", "each"]


@dataclass(frozen=True)
class MetaEpisode:
    """Classes drawn to be learned again, and the rows of their samples in the data.

    Attributes:
        classes: `(N,)` class ids in the order in which they arrive.
        places: `(N,)` spare unit of each class.
        support: rows `(N, shots)`; the first of each class is its template.
        query: rows `(N, queries)`.
        others: `(O,)` classes that were not drawn and are already known; empty without others.
        other_templates: `(O,)` one row per other class.
        other_query: `(N * queries,)` rows of the other classes, without templates if there are
            enough samples.
    """

    classes: Tensor
    places: Tensor
    support: Tensor
    query: Tensor
    others: Tensor
    other_templates: Tensor
    other_query: Tensor


def increments(num_classes: int, first: int, way: int) -> list[int]:
    """Return how many classes each stage of an episode brings.

    A remainder too small for a stage joins the last one.

    Example:
        >>> increments(20, 5, 5), increments(13, 5, 5)
        ([5, 5, 5, 5], [5, 8])
    """
    first = min(first, num_classes)
    full, rest = divmod(num_classes - first, way)
    sizes = [first, *[way] * full]
    sizes[-1] += rest
    return sizes


def draw_meta_episode(
    labels: Tensor,
    generator: torch.Generator,
    *,
    num_classes: int,
    shots: int,
    queries: int,
    with_others: bool,
    mixed_units: bool = False,
) -> MetaEpisode:
    """Return an episode for data with these labels; the generator makes all random choices.

    Support and query of a class share no sample. If a class has too few, at most half of them are
    for the query, and some are used twice. A class of one sample is its own query.

    Args:
        labels: `(n,)` class ids of the data.
        num_classes: maximum number of classes to draw.
        mixed_units: assign spare units in a random order, not in order of arrival.
    """
    classes = torch.unique(labels)
    order = _shuffled(classes, generator)
    drawn, others = order[:num_classes], order[num_classes:]
    support, query = [], []
    for class_id in drawn:
        rows = _shuffled((labels == class_id).nonzero().flatten(), generator)
        num_query = min(queries, len(rows) // 2)
        own = rows[: min(shots, len(rows) - num_query)]
        rest = rows[len(own) : len(own) + num_query] if num_query else own
        support.append(_cycled(own, shots))
        query.append(_cycled(rest, queries))
    if not with_others:
        others = others[:0]
    templates, other_query = _of_others(labels, others, generator, len(drawn) * queries)
    places = torch.arange(len(drawn))
    if mixed_units:
        places = _shuffled(places, generator)
    return MetaEpisode(
        drawn, places, torch.stack(support), torch.stack(query), others, templates, other_query
    )


def _of_others(
    labels: Tensor, others: Tensor, generator: torch.Generator, num_queries: int
) -> tuple[Tensor, Tensor]:
    """Return one row per other class, and rows of all of them for the query."""
    rows = _shuffled(torch.isin(labels, others).nonzero().flatten(), generator)
    if not len(rows):
        return rows, rows
    # the first of each class in a shuffled order is a random one
    first = (labels[rows] == others[:, None]).int().argmax(1)
    rest = torch.ones(len(rows), dtype=torch.bool)
    rest[first] = False
    return rows[first], _cycled(rows[rest] if rest.any() else rows, num_queries)


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _cycled(rows: Tensor, num: int) -> Tensor:
    return rows[torch.arange(num) % len(rows)]


@dataclass(frozen=True)
class EpisodePlan:
    """Shape of the episodes of a phase.

    Attributes:
        sizes: number of classes in each stage.
        shots, queries: samples of each class to learn from, and to evaluate on.
        initial_steps: gradient steps of the first stage.
        steps: gradient steps of each later stage.
        template_step: whether one step on the templates so far follows: at the end, or each stage.
        with_others: whether classes not drawn take part, as already known.
        full_softmax: whether the units of future classes take part from the start.
        mixed_units: whether a spare unit may belong to any stage.
    """

    sizes: tuple[int, ...]
    shots: int
    queries: int
    initial_steps: int
    steps: int
    template_step: TemplateStep
    with_others: bool = False
    full_softmax: bool = False
    mixed_units: bool = False

    @property
    def num_classes(self) -> int:
        """Classes drawn for an episode."""
        return sum(self.sizes)

    def draw(self, labels: Tensor, generator: torch.Generator) -> MetaEpisode:
        """Return an episode of this shape."""
        return draw_meta_episode(
            labels,
            generator,
            num_classes=self.num_classes,
            shots=self.shots,
            queries=self.queries,
            with_others=self.with_others,
            mixed_units=self.mixed_units,
        )

    def present(self, others: Tensor, places: Tensor, num_units: int, num_spare: int) -> Tensor:
        """Return the units in each stage's softmax, `(stages, num_units + num_spare)`.

        Args:
            others: `(O,)` units of the classes already known.
            places: `(N,)` spare units of the drawn classes, in the order of arrival.
        """
        present = torch.zeros(len(self.sizes), num_units + num_spare, dtype=torch.bool)
        present[:, others] = True
        for stage, end in enumerate(torch.tensor(self.sizes).cumsum(0).tolist()):
            last = self.num_classes if self.full_softmax else end
            present[stage, num_units + places[:last]] = True
        return present

    def stages(self, inputs: Tensor, units: Tensor, present: Tensor) -> list[Stage]:
        """Return the inner loop of an episode.

        Args:
            inputs: support samples `(N * shots + O, ...)` class by class, then others' templates.
            units: `(N * shots + O,)`, unit of each sample.
            present: see `present`.
        """
        found: list[Stage] = []
        first, num_support = 0, self.num_classes * self.shots
        others = torch.arange(num_support, len(units), device=units.device)
        for number, size in enumerate(self.sizes):
            last = first + size
            here = slice(first * self.shots, last * self.shots)
            steps = self.steps if number else self.initial_steps
            found.append(Stage(inputs[here], units[here], present[number], steps))
            at_end = number == len(self.sizes) - 1
            if self.template_step == "each" or (self.template_step == "end" and at_end):
                drawn = torch.arange(0, last * self.shots, self.shots, device=units.device)
                rows = torch.cat([drawn, others])
                found.append(Stage(inputs[rows], units[rows], present[number], steps=1))
            first = last
        return found
