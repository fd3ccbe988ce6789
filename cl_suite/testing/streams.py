"""Streams small enough for unit tests: noisy patterns, three sessions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Kind, Modality, Stream, build_stream
from cl_suite.data.transforms import Compose, RandomAffine, ToFloat

SESSIONS = ((7, 2, 5, 0), (6, 1), (3, 4))


def make_samples(
    classes: Sequence[int], per_class: int, seed: int, size: int = 16
) -> TensorSamples:
    """Return noisy images of a pattern that each class has of its own."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = [], []
    for class_id in classes:
        pattern = torch.rand(1, size, size, generator=torch.Generator().manual_seed(class_id))
        for _ in range(per_class):
            noise = torch.rand(1, size, size, generator=generator)
            inputs.append((255 * (0.7 * pattern + 0.3 * noise)).to(torch.uint8))
            targets.append(class_id)
    return TensorSamples(torch.stack(inputs), targets)


def make_stream(
    session_classes: Sequence[Sequence[int]] | None = None,
    *,
    base_shots: int = 12,
    shots: int = 3,
    test_images: int = 5,
    size: int = 16,
    kind: Kind = "class",
    modality: Modality = "image",
) -> Stream:
    """Return a stream of noisy patterns; class ids come in no order on purpose.

    Args:
        session_classes: new classes of each session; None for `SESSIONS`.
        base_shots, shots: training samples a class in the base session, and in each later one.
        test_images: test samples a class.
        size: height and width in pixels.
        kind: what later sessions bring; the classes are then arranged to suit it.
        modality: what the patterns pass for.
    """
    sessions = _arranged(session_classes or SESSIONS, kind)
    num_classes = max(c for classes in sessions for c in classes) + 1
    return build_stream(
        name="patterns",
        class_names=[f"pattern {i}" for i in range(num_classes)],
        session_classes=sessions,
        train=[
            make_samples(classes, base_shots if i == 0 else shots, seed=i, size=size)
            for i, classes in enumerate(sessions)
        ],
        test=[
            make_samples(classes, test_images, seed=100 + i, size=size)
            for i, classes in enumerate(sessions)
        ],
        train_transform=Compose((ToFloat(), RandomAffine())),
        eval_transform=ToFloat(),
        shots=shots,
        kind=kind,
        modality=modality,
    )


def _arranged(sessions: Sequence[Sequence[int]], kind: Kind) -> list[list[int]]:
    if kind == "class":
        return [list(classes) for classes in sessions]
    if kind == "mixed":
        first, *later = sessions
        return [list(first), *([*classes, first[0]] for classes in later)]
    every = [class_id for classes in sessions for class_id in classes]
    return [every for _ in sessions]
