"""Subclasses: which classes are cut and how, and the temperatures of the classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cl_suite.losses.subclasses import class_temperatures, subclasses


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_only_frequent_classes_are_cut() -> None:
    labels = torch.tensor([0] * 30 + [1] * 12 + [2] * 5)
    features = torch.randn(47, 4, generator=generator())
    ids = subclasses(features, labels, smallest=10, generator=generator())
    assert [len(ids[labels == c].unique()) for c in range(3)] == [3, 1, 1]
    pairs = {(c, i) for c, i in zip(labels.tolist(), ids.tolist(), strict=True)}
    assert len({i for _, i in pairs}) == len(pairs)  # no subclass has two classes
    finer = subclasses(features, labels, smallest=1, generator=generator())
    assert len(finer[labels == 0].unique()) == 6  # of the rarest class's size


def test_subclasses_are_clusters_of_the_features() -> None:
    labels = torch.tensor([0] * 20 + [1])  # a rare class allows two parts of the other
    features = torch.eye(2)[torch.arange(21) % 2]
    ids = subclasses(features, labels, smallest=10, generator=generator())
    assert ids[:20:2].unique().numel() == ids[1:20:2].unique().numel() == 1
    assert ids[0] != ids[1]


def test_a_wider_class_has_a_higher_temperature_and_a_whole_one_the_given() -> None:
    torch.manual_seed(0)
    centre = F.normalize(torch.randn(3, 8))
    noise = torch.tensor([0.02, 0.3, 0.1]).repeat_interleave(10)[:, None] * torch.randn(30, 8)
    labels = torch.arange(3).repeat_interleave(10)
    parts = torch.where(labels == 2, 9, labels * 2 + torch.arange(30) % 2)
    found = class_temperatures(centre[labels] + noise, labels, parts, temperature=0.2)
    narrow, wide, whole = (found[labels == c].unique().item() for c in range(3))
    assert narrow < 0.2 < wide
    assert whole == pytest.approx(0.2)


def test_temperatures_are_those_of_the_formula() -> None:
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0.6, 0.8]], dtype=torch.float64)
    labels = torch.tensor([5, 5, 7, 7])
    widths = torch.tensor([0.5**0.5, 0.2**0.5], dtype=torch.float64) / math.log(12)
    low, high = torch.quantile(widths, torch.tensor([0.2, 0.8], dtype=torch.float64))
    clipped = widths.clamp(low, high)
    expected = 0.1 * clipped / clipped.mean()
    found = class_temperatures(features, labels, torch.arange(4))
    assert found.tolist() == pytest.approx(expected.repeat_interleave(2).tolist())
