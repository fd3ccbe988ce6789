"""Nearest neighbours: what they score, what is chosen, what a later session changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import accuracy, features_of, make_engine, make_feature_stream, trained

from cl_suite.errors import UserError
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.methods.whitening import base_spread, fit_whitening
from cl_suite.models.heads.neighbours import (
    NeighbourHead,
    class_products,
    neighbour_scores,
    neighbours,
)
from cl_suite.strategies.cache import drawn_rows
from cl_suite.strategies.knn import KNNPlugin
from cl_suite.strategies.simple_cil import SimpleCILPlugin

FIXED = {"share": 0.4, "shrinkage": 0.3, "margin": 0.05}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_score_by_hand() -> None:
    samples = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    queries = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    # the nearest of two; then both: their sum is (1.6, 0.8), of length 1.6 * sqrt(1.25)
    one = torch.tensor([[0.96, 0.6], [0.8, 1.0]])
    products, counts = class_products(samples, [2, 1]), [2, 1]
    halves, wholes = neighbour_scores(queries, samples, products, counts, [0.5, 1.0])
    torch.testing.assert_close(halves, one)
    length = 1.6 * 1.25**0.5
    both = torch.tensor([[(0.8 * 1.6 + 0.6 * 0.8) / length, 0.6], [0.8 / length, 1.0]])
    torch.testing.assert_close(wholes, both)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 1.0])
def test_the_score_is_the_cosine_to_the_mean_of_the_nearest(share: float) -> None:
    queries, counts = F.normalize(drawn(4, 6)), [7, 1, 20]
    samples = F.normalize(drawn(28, 6, seed=1))
    products = class_products(samples, counts)
    (found,) = neighbour_scores(queries, samples, products, counts, [share])
    for column, own in enumerate(torch.split(samples, counts)):
        for row, query in enumerate(queries):
            near = (own @ query).argsort(descending=True)[: neighbours(len(own), share)]
            expected = F.cosine_similarity(query, own[near].mean(0), dim=0)
            torch.testing.assert_close(found[row, column], expected)


def test_the_number_of_neighbours_grows_with_the_class() -> None:
    assert [neighbours(n, 0.2) for n in (1, 5, 10, 100)] == [1, 1, 2, 20]
    assert [neighbours(n, 1.0) for n in (1, 5)] == [1, 5]


def test_all_samples_are_class_means_of_unit_features() -> None:
    stream = make_feature_stream()
    plugin = KNNPlugin(share=1.0, shrinkage=1.0, margin=0.0, power=1.0)
    head = trained(plugin, stream).model.head
    assert isinstance(head, NeighbourHead)
    queries = drawn(9, 16)
    y = F.normalize(head.transformed(queries))
    for session in range(2):
        x, labels = features_of(stream, session)
        unit = F.normalize(head.transformed(x.float()))
        for c in torch.unique(labels).tolist():
            expected = 16 * F.cosine_similarity(y, unit[labels == c].mean(0)[None])
            torch.testing.assert_close(head(queries)[:, c], expected, rtol=1e-4, atol=1e-4)


def test_later_sessions_append_their_shots_and_leave_the_rest() -> None:
    stream = make_feature_stream()
    plugin = KNNPlugin(base_keys=4, **FIXED)
    engine = make_engine(plugin, stream)
    engine.train_session(0)
    head = engine.model.head
    assert isinstance(head, NeighbourHead)
    assert head.counts.tolist() == [4] * 12
    samples, scores = head.samples.clone(), head(drawn(5, 16))
    engine.train_session(1)
    assert head.counts.tolist() == [4] * 12 + [5] * 2
    assert head.samples[:48].equal(samples)
    assert head(drawn(5, 16))[:, :12].equal(scores[:, :12])
    assert head.offsets.tolist() == pytest.approx([0.0] * 12 + [0.05] * 2)
    # each sample, and the products between those of a class
    assert plugin.kept_data() == (58, (58 * 16 + 12 * 4**2 + 2 * 5**2) * 4)


def test_the_choice_rests_on_what_the_head_itself_would_score() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    features = features.float()
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    plugin = KNNPlugin(base_keys=6)
    grid = {"shrinkage": (0.3, 1.0), "share": (0.2, 1.0), "margin": (0.0, 0.3)}
    found = plugin.figures(grid, features, labels, task)
    rows = drawn_rows(labels[task.train], 6, torch.Generator().manual_seed(0))
    expected = []
    for shrinkage in grid["shrinkage"]:
        for share in grid["share"]:
            for margin in grid["margin"]:
                head = NeighbourHead(16, transform=KNNPlugin().make_head(16, 0, 1.0).transform)
                head.set_share(share)
                assert head.transform is not None
                spread = base_spread(features[task.train], labels[task.train], 0.5)
                fit_whitening(head.transform, spread, 0.5, shrinkage)
                for part in (task.train[rows], task.shots):
                    classes = [c for c in task.classes.tolist() if c in labels[part]]
                    head.set_samples(classes, head.transformed(features[part]), labels[part])
                head.set_offset(task.new_classes.tolist(), margin)
                scores = head(features[task.test])[:, task.classes]
                expected.append(fake_figures(scores, labels, task)[0])
    torch.testing.assert_close(found, torch.stack(expected))
    assert found.std(0).min() > 0, "the candidates differ, so the test can fail"


def test_what_is_not_given_is_chosen_and_what_is_given_is_taken() -> None:
    plugin = KNNPlugin(share=0.4)
    engine = trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.parameters_["share"] == 0.4
    assert set(plugin.choice_["table"][:, 1].tolist()) == {0.4}
    assert float(engine.model.head.share) == pytest.approx(0.4)
    assert plugin.session_note(0).startswith("chose shrinkage ")


def test_it_is_ahead_of_class_means_where_directions_differ_in_spread() -> None:
    stream = make_feature_stream()
    assert accuracy(trained(KNNPlugin(), stream)) > accuracy(trained(SimpleCILPlugin(), stream))


def test_it_resumes_between_sessions_as_if_it_had_never_stopped() -> None:
    stream = make_feature_stream()
    through = trained(KNNPlugin(), stream)
    state = trained(KNNPlugin(), stream, num_sessions=2).state_dict()
    second = make_engine(KNNPlugin(), stream)
    second.load_state_dict(state)
    for session in (2, 3):
        second.train_session(session)
    assert second.model.head(drawn(9, 16)).equal(through.model.head(drawn(9, 16)))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"share": 0.0}, r"share must be in \(0, 1\]"),
        ({"base_keys": 0}, "base_keys must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=f"^{words}"):
        KNNPlugin(**given)
