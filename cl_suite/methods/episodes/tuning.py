"""Choose parameters on fake streams cut from the base session's training data.

Some base classes play new ones: a few of their images are the shots, the rest are test images. Of
the other base classes some images are held out for testing. The candidate with the best score over
several such streams is chosen. No test image and no later session is used.

One bias remains: a network trained on the base classes has also seen the fake new classes. They are
easier than real new classes, so the choice relies too much on few shots. A network trained on other
data does not have this bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Candidate = Mapping[str, float]
FIGURES = ("average", "harmonic", "score")
LEAST_CLASSES = 10
LEAST_IMAGES = 4
# of streams that are cut from few-shot base sessions too
LEAST_FEW_SHOT_CLASSES = 4
FEW_SHOT_SHARE = 0.8  # the most of a class's images that are shots; the others are for testing
FEW_IMAGES = 1000  # images of a base session that tell so little that it takes many streams
NUM_OF_FEW_IMAGES = 24  # which few images make cheap


@dataclass(frozen=True)
class FakeTask:
    """A small fake stream, as rows of the base features.

    Attributes:
        base_classes, new_classes: class ids; the columns of scores have this order.
        train, shots: training rows of the base classes, and of the new classes.
        test: held-out rows of all classes.
        way: new classes per session.
    """

    base_classes: Tensor
    new_classes: Tensor
    train: Tensor
    shots: Tensor
    test: Tensor
    way: int

    @property
    def classes(self) -> Tensor:
        """Base and new class ids `(num_base + num_new,)`."""
        return torch.cat([self.base_classes, self.new_classes])

    def to(self, device: torch.device) -> FakeTask:
        """Return the same task with its tensors on a device."""
        return FakeTask(
            base_classes=self.base_classes.to(device),
            new_classes=self.new_classes.to(device),
            train=self.train.to(device),
            shots=self.shots.to(device),
            test=self.test.to(device),
            way=self.way,
        )

    def columns(self, labels: Tensor) -> Tensor:
        """Return the score column of each class id; -1 for a class not in the task."""
        place = labels.new_full((int(max(labels.max(), self.classes.max())) + 1,), -1)
        place[self.classes] = torch.arange(len(self.classes), device=labels.device)
        return place[labels]


@dataclass(frozen=True)
class Choice:
    """The chosen candidate and the scores of all candidates.

    Attributes:
        best: the candidate with the highest score.
        columns: names of the table's columns: the parameters, then `FIGURES`.
        table: `(num_candidates, num_columns)`, figures as fractions, averaged over the tasks.
    """

    best: dict[str, float]
    columns: list[str]
    table: Tensor

    def state_dict(self) -> dict[str, Any]:
        """Return the choice as tensors and plain values, for a strategy's state."""
        return dict(vars(self))


def fake_tasks(
    labels: Tensor,
    *,
    generator: torch.Generator,
    num_tasks: int = 4,
    shots: int = 5,
    new_rate: float = 0.4,
    num_sessions: int = 8,
    test_images: int = 20,
    max_images: int = 100,
    least_classes: int = LEAST_CLASSES,
    shot_share: float = 0.5,
) -> list[FakeTask]:
    """Return fake streams over base samples with these class ids; none if there are too few.

    A class needs 4 images to take part. Of a base class a fifth is held out, at most `test_images`.

    Args:
        labels: `(n,)` class ids of the base training samples.
        generator: for the draws, on the CPU.
        num_tasks: number of streams; each draws new classes, shots and held-out images.
        shots: shots per new class.
        new_rate: share of the classes that play new ones.
        num_sessions: sessions with new classes.
        test_images: maximum number of test images per class.
        max_images: maximum number of images used per class.
        least_classes: number of such classes that are needed.
        shot_share: the largest share of a new class's images that its shots may be. With 0.8 a
            base session of few shots a class plays new classes of nearly as many.
    """
    rows = {c: torch.nonzero(labels.cpu() == c)[:, 0] for c in torch.unique(labels).tolist()}
    usable = torch.tensor([c for c, own in rows.items() if len(own) >= LEAST_IMAGES])
    if len(usable) < least_classes:
        return []
    num_new = round(new_rate * len(usable))
    tasks = []
    for _ in range(num_tasks):
        order = usable[torch.randperm(len(usable), generator=generator)]
        images = {}
        for c in order.tolist():
            images[c] = rows[c][torch.randperm(len(rows[c]), generator=generator)][:max_images]
        own = {c: min(shots, int(shot_share * len(images[c]))) for c in order[:num_new].tolist()}
        task = _cut(order[num_new:], own, images, test_images, num_sessions)
        tasks.append(task.to(labels.device))
    return tasks


def few_shot_tasks(
    labels: Tensor, *, seed: int, shots: int, num_tasks: int | None, usual: int
) -> list[FakeTask]:
    """Return fake streams that a few-shot base session can be cut into too; none if too small.

    Args:
        labels: `(n,)` class ids of the base training samples.
        seed: of the draws.
        shots: shots per new class.
        num_tasks: number of streams; None: 24 for a base session of few images, else `usual`.
    """
    by_size = NUM_OF_FEW_IMAGES if has_few_images(labels) else usual
    return fake_tasks(
        labels,
        generator=torch.Generator().manual_seed(seed),
        num_tasks=num_tasks or by_size,
        shots=shots,
        least_classes=LEAST_FEW_SHOT_CLASSES,
        shot_share=FEW_SHOT_SHARE,
    )


def has_few_images(labels: Tensor) -> bool:
    """Return whether a base session with these labels has at most 1,000 images."""
    return len(labels) <= FEW_IMAGES


def _cut(
    base: Tensor,
    shots: Mapping[int, int],
    images: Mapping[int, Tensor],
    test_images: int,
    num_sessions: int,
) -> FakeTask:
    """Return a task: the first images of a base class are held out, of a new class its shots.

    Args:
        shots: number of shots of each new class, in order of arrival.
    """
    train, support, test = [], [], []
    for own in (images[c] for c in base.tolist()):
        num = min(test_images, max(1, len(own) // 5))
        train.append(own[num:])
        test.append(own[:num])
    for c, num in shots.items():
        support.append(images[c][:num])
        test.append(images[c][num : num + test_images])
    return FakeTask(
        base_classes=base,
        new_classes=base.new_tensor(list(shots)),
        train=torch.cat(train),
        shots=torch.cat(support),
        test=torch.cat(test),
        way=math.ceil(len(shots) / num_sessions),
    )


def fake_figures(
    scores: Tensor, labels: Tensor, task: FakeTask, offsets: Sequence[float] = (0.0,)
) -> Tensor:
    """Return average accuracy over sessions and last harmonic mean, `(num_offsets, 2)`.

    All classes have the same weight, as in a balanced test set. An earlier session is simulated by
    leaving out the columns of later classes. If new classes change a head's other scores, the head
    is judged by its last state.

    Args:
        scores: `(num_test, num_base + num_new)` for the task's test rows.
        labels: `(n,)` class ids of all base samples.
        offsets: constants added to the scores of new classes; each gives a row of the result.
    """
    num_base, num_new = len(task.base_classes), len(task.new_classes)
    truth = task.columns(labels)[task.test]
    base_best, base_column = scores[:, :num_base].max(dim=1)
    new_best, new_column = scores[:, num_base:].cummax(dim=1)
    ends = [*range(task.way, num_new, task.way), num_new]
    last = torch.tensor(ends, device=scores.device) - 1
    lead = new_best[:, last] - base_best[:, None]  # (num_test, num_sessions)
    right_base = (base_column == truth)[:, None]
    right_new = new_column[:, last] + num_base == truth[:, None]
    wins = lead > -torch.tensor(offsets, device=scores.device).view(-1, 1, 1)
    hits = torch.where(wins, right_new, right_base).to(torch.float64)
    # weight 1 / samples of its class; new classes count once they have arrived
    weight = 1 / torch.bincount(truth, minlength=num_base + num_new).to(hits)[truth]
    arrived = (truth[:, None] < num_base + last + 1).to(hits) * weight[:, None]
    all_classes = (hits * arrived).sum(1) / arrived.sum(0)  # (num_offsets, num_sessions)
    is_base = (truth < num_base).to(hits) * weight
    base_alone = (right_base[:, 0].to(hits) * is_base).sum() / is_base.sum()
    average = (all_classes.sum(1) + base_alone) / (len(ends) + 1)
    base = (hits[:, :, -1] * is_base).sum(1) / is_base.sum()
    new = (hits[:, :, -1] * (weight - is_base)).sum(1) / (weight - is_base).sum()
    harmonic = 2 * base * new / (base + new).clamp(min=1e-12)
    return torch.stack([average, harmonic], dim=1).cpu()


def choice_note(choice: Mapping[str, Any]) -> str:
    """Describe the choice in a `Choice.state_dict()`; "" if there is none."""
    if not choice:
        return ""
    table: Tensor = choice["table"]
    best = dict(zip(choice["columns"], table[table[:, -1].argmax()].tolist(), strict=True))
    chosen = ", ".join(f"{name} {best[name]:.3g}" for name in best if name not in FIGURES)
    return f"chose {chosen} on streams cut from the base session's training data"


def choose_value(
    name: str,
    values: Sequence[float],
    labels: Tensor,
    figures: Callable[[FakeTask], Tensor],
    *,
    seed: int,
    shots: int,
) -> Choice | None:
    """Return the choice of one parameter on three fake streams; None if they cannot be cut.

    Args:
        labels: class of each feature of the base session `(n,)`.
        figures: returns the figures `(len(values), 2)` of all values in a fake stream.
        seed: of the fake streams.
        shots: of each new class in them.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks = fake_tasks(labels, generator=generator, num_tasks=3, shots=shots)
    return choose([{name: value} for value in values], tasks, figures) if tasks else None


def choose(
    candidates: Sequence[Candidate],
    tasks: Sequence[FakeTask],
    evaluate: Callable[[FakeTask], Tensor],
) -> Choice:
    """Return the candidate with the best score over the tasks; the first of equals.

    The score is the mean of two metrics: the average accuracy over sessions, and the harmonic mean
    of base and new classes after the last. The first alone would not punish a method that never
    predicts a new class.

    Args:
        candidates: parameter values by name, the same names in each.
        tasks: at least one, from `fake_tasks`.
        evaluate: function from a task to the figures `(num_candidates, 2)` of all candidates (see
            `fake_figures`), so shared work is done once.

    Raises:
        ValueError: if there is no candidate or no task.
    """
    if not candidates or not tasks:
        raise ValueError(
            f"{len(candidates)} candidates and {len(tasks)} tasks; pass at least one each"
        )
    figures = torch.stack([evaluate(task) for task in tasks]).mean(0)
    score = figures.mean(dim=1, keepdim=True)
    names = list(candidates[0])
    rows = [[float(candidate[name]) for name in names] for candidate in candidates]
    values = torch.tensor(rows, dtype=torch.float64)
    table = torch.cat([values, figures, score], dim=1)
    best = dict(candidates[int(score[:, 0].argmax())])
    return Choice(best, [*names, *FIGURES], table)
