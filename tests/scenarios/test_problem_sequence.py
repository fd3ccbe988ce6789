"""Problem sequences: domain, pattern and size of each problem, and disjoint images."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_suite.data.holdout import held_out
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.data.transforms import RandomAffine
from cl_suite.errors import UserError
from cl_suite.scenarios.picture_pairs import (
    PATTERNS,
    EachImage,
    Pictures,
    few_cells,
    grid,
)
from cl_suite.scenarios.problem_sequence import OUTLINES, ProblemSequence, outline

SMALL: dict[str, Any] = {
    "plus_items": 400,
    "minus_items": 200,
    "image_items": 80,
    "test_items": 128,
}
PICTURES = Pictures.read()


def build(sequence: str, **parameters: Any) -> Stream:
    return ProblemSequence(sequence=sequence, **{**SMALL, **parameters}).build()  # type: ignore[arg-type]


def inputs(stream: Stream, session: int, part: str = "train") -> Tensor:
    samples = (stream.train if part == "train" else stream.test)[session]
    assert isinstance(samples, TensorSamples)
    return samples.inputs


def drawings(items: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in items.flatten(0, 1) if image.any()}


KNOWN = {
    image.numpy().tobytes(): (row, part, number)
    for part, images in (("train", PICTURES.train), ("test", PICTURES.test))
    for row, of_class in enumerate(images)
    for number, image in enumerate(of_class)
}


def domain(stream: Stream, session: int) -> set[int]:
    return {KNOWN[image][0] for image in drawings(inputs(stream, session))}


def table(stream: Stream, session: int, part: str = "train") -> dict[tuple[int, int], set[int]]:
    """Return the labels that each pair of classes has in a session."""
    rows = sorted(domain(stream, session))
    samples = (stream.train if part == "train" else stream.test)[session]
    found: dict[tuple[int, int], set[int]] = {}
    for item, target in zip(inputs(stream, session, part), samples.targets, strict=True):
        pair = tuple(rows.index(KNOWN[image.numpy().tobytes()][0]) for image in item)
        label = stream.info.session_classes[session].index(target)
        found.setdefault((pair[0], pair[1]), set()).add(label)
    return found


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_patterns_are_balanced_and_their_maps_differ(pattern: str) -> None:
    grids = [grid(pattern, number) for number in range(4)]
    assert all(labels.shape == (8, 8) and labels.sum() == 32 for labels in grids)
    assert all(not a.equal(b) for a, b in pairwise(grids))


def test_patterns_are_those_of_their_formulas() -> None:
    place = torch.arange(8)
    a, b = place[:, None], place[None]
    assert grid("xor", 0).equal((a < 4) != (b < 4))
    assert grid("circle", 0).equal((a - 3.5) ** 2 + (b - 3.5) ** 2 < 9)
    assert grid("x", 0).equal(grid("x", 0).T)
    assert grid("square", 0)[0].all()


def test_a_domain_is_eight_characters_of_one_alphabet() -> None:
    assert len(PICTURES.domains) == 28
    for rows in PICTURES.domains:
        assert len({PICTURES.names[row].partition("/")[0] for row in rows}) == 1
        assert len(rows) == 8
    flat = [row for rows in PICTURES.domains for row in rows]
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize("sequence", list(OUTLINES))
def test_the_streams_domains_and_patterns_are_those_of_its_outline(sequence: str) -> None:
    stream = build(sequence)
    problems = outline(sequence, 6)
    domains = [domain(stream, session) for session in range(6)]
    tables = [
        table(stream, s, "test") if p[1] is not None else None for s, p in enumerate(problems)
    ]
    for i, first in enumerate(problems):
        assert len(domains[i]) == 8
        for j, second in enumerate(problems[:i]):
            assert (domains[i] == domains[j]) == (first[0] == second[0])
            assert domains[i] == domains[j] or not domains[i] & domains[j]
            if first[1] is not None and second[1] is not None:
                assert (tables[i] == tables[j]) == (first[1] == second[1])


def test_the_outlines_by_hand() -> None:
    assert outline("S_out", 6)[0] == (0, 0, "plus")
    assert outline("S_out", 6)[-1] == (0, 5, "minus")
    assert outline("S_in", 6)[-1] == (5, 0, "latent")
    assert outline("S_minus", 6)[-1] == (0, 0, "minus")
    assert outline("S_plus", 6)[-1] == (0, 0, "plus")
    assert outline("S_out_star", 6)[:3] == [(0, 0, "minus"), (0, 1, "plus"), (1, 2, "minus")]
    assert outline("S_out_star", 6)[-1] == (0, 5, "minus")
    assert outline("S_out_star_star", 6)[-1] == (0, 0, "minus")
    assert outline("S_few", 6)[-1] == (1, 1, "few")
    assert len({(d, t) for d, t, _ in outline("S_pl", 6)}) == 6


def test_a_pair_of_classes_always_has_the_same_label_and_labels_are_balanced() -> None:
    stream = build("S_pl")
    for session in range(6):
        for part in ("train", "test"):
            found = table(stream, session, part)
            assert len(found) == 64
            assert all(len(labels) == 1 for labels in found.values())
        assert len(set(Counter(stream.train[session].targets).values())) == 1


def test_session_i_brings_no_and_yes_of_problem_i() -> None:
    info = build("S_pl").info
    assert info.session_classes[3] == (6, 7)
    assert [info.class_names[c] for c in (6, 7)] == ["problem 3: no", "problem 3: yes"]
    assert info.way == 2
    assert info.input_shape == (2, 28, 28)


def test_no_drawing_is_both_learned_and_tested_in_the_whole_sequence() -> None:
    stream = build("S_few")
    learned = set().union(*(drawings(inputs(stream, s)) for s in range(6)))
    tested = set().union(*(drawings(inputs(stream, s, "test")) for s in range(6)))
    assert not learned & tested
    assert {KNOWN[image][1] for image in learned} == {"train"}


@pytest.mark.parametrize("sequence", ["S_pl", "S_minus", "S_in", "S_few"])
def test_what_a_method_holds_out_shows_drawings_of_its_own(sequence: str) -> None:
    stream = build(sequence)
    for session, samples in enumerate(stream.train):
        kept, out = held_out(samples.targets, 0.2)
        items = inputs(stream, session)
        assert not drawings(items[kept]) & drawings(items[out])
        numbers = {KNOWN[image][2] for image in drawings(items[out])}
        assert numbers <= {8, 9}


def test_sizes_are_items_drawings_or_pairs() -> None:
    few = build("S_few")
    assert [len(samples) for samples in few.train] == [80, 80, 200, 200, 200, 20]
    kept, _ = held_out(few.train[2].targets, 0.2)
    assert {KNOWN[image][2] for image in drawings(inputs(few, 2)[kept])} == {0, 1, 2}
    latent = build("S_in")
    kept, out = held_out(latent.train[5].targets, 0.2)
    rows = sorted(domain(latent, 5))

    def pairs(chosen: list[int]) -> set[tuple[int, ...]]:
        return {
            tuple(rows.index(KNOWN[image.numpy().tobytes()][0]) for image in item)
            for item in inputs(latent, 5)[chosen]
        }

    assert len(pairs(kept)) == 15
    assert len(pairs(out)) > 15
    assert len(table(latent, 5, "test")) == 64


def test_fifteen_pairs_have_both_labels() -> None:
    labels = grid("x", 1)
    shown = few_cells(labels, np.random.default_rng(0))
    assert (int(shown.sum()), int((shown & labels).sum())) == (15, 8)


def test_in_the_first_sessions_of_s_few_one_picture_stands_alone() -> None:
    stream = build("S_few")
    assert not inputs(stream, 0)[:, 1].any()
    assert len(stream.info.session_classes[0]) == 8
    assert stream.info.class_names[0].startswith("problem 0: ")
    for item, target in zip(inputs(stream, 1, "test"), stream.test[1].targets, strict=True):
        row = KNOWN[item[0].numpy().tobytes()][0]
        assert stream.info.class_names[target] == f"problem 1: {PICTURES.names[row]}"


def test_the_seed_decides_everything() -> None:
    first = build("S_out", seed=1).info.fingerprint
    assert build("S_out", seed=1).info.fingerprint == first
    assert build("S_out", seed=2).info.fingerprint != first


def test_each_picture_is_distorted_by_a_draw_of_its_own() -> None:
    item = torch.rand(1, 1, 28, 28).expand(5, 2, 28, 28)
    found = EachImage(RandomAffine())(item)
    assert found.shape == item.shape
    assert not found[:, 0].equal(found[:, 1])
    info = build("S_pl", augment=False).info
    assert info.train_transform == info.eval_transform


def test_the_patterns_can_be_chosen() -> None:
    stream = build("S_pl", patterns=["circle"], length=4)
    for session in range(4):
        degrees = Counter(a for (a, _), labels in table(stream, session).items() if labels == {1})
        # of a circle's classes four have six partners in it, two four, and two none
        assert sorted(degrees.values()) == [4, 4, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"sequence": "S_puls"}, "sequence must be one of S_pl, .*, got 'S_puls'"),
        ({"length": 3}, "length of S_pl must lie in 4 to 16, got 3"),
        ({"length": 5, "sequence": "S_few"}, "length of S_few must lie in 6 to 6, got 5"),
        (
            {"patterns": ["ring"]},
            "patterns must be a list whose items must be one of xor, circle, x, square",
        ),
        ({"patterns": []}, "patterns must name at least one pattern, each once"),
        ({"few_items": 1}, "few_items must be at least 2, got 1"),
        ({"minus_drawings": 9}, r"minus_drawings must be in \[1, 8\], got 9"),
        ({"validation_rate": 1.0}, r"validation_rate must be in \[0, 0.9\], got 1.0"),
        ({"image_items": 7}, "image_items must be at least 8, got 7"),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ProblemSequence(**parameters).build()
