"""Probes against brute force and worked numbers; order and batch size change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.engine.probes import Probe, fit_knn, fit_linear
from cl_suite.errors import UserError

Fit = Callable[[Tensor, Tensor], Probe]
FITS: dict[str, Fit] = {
    "linear": fit_linear,
    "cosine": fit_knn,
    "distance": lambda features, labels: fit_knn(features, labels, weights="distance"),
}
every_probe = pytest.mark.parametrize("fit", FITS.values(), ids=FITS)


def blobs(num: int = 120, classes: tuple[int, ...] = (40, 7, 1000), seed: int = 0) -> list[Tensor]:
    """Return overlapping clusters, features `(num, 6)` with their class ids."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(classes), 6, generator=torch.Generator().manual_seed(9))
    index = torch.randint(0, len(classes), (num,), generator=generator)
    features = centres[index] + 0.9 * torch.randn(num, 6, generator=generator)
    return [features, torch.tensor(classes)[index]]


def brute_force(
    train: Tensor, labels: Tensor, query: Tensor, neighbours: int, weight: Callable[..., Tensor]
) -> int:
    """Return the class that a vote over explicitly computed weights elects."""
    cosines = F.cosine_similarity(train.double(), query.double()[None], dim=1)
    distances = (train.double() - query.double()).norm(dim=1)
    weights = weight(cosines, distances)
    votes: dict[int, float] = {}
    for row in weights.argsort(descending=True)[:neighbours].tolist():
        votes[int(labels[row])] = votes.get(int(labels[row]), 0.0) + float(weights[row])
    return max(votes, key=lambda class_id: votes[class_id])


@pytest.mark.parametrize("neighbours", [1, 5, 20, 500])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_cosine_votes_are_those_of_brute_force(neighbours: int, temperature: float) -> None:
    (train, labels), (queries, _) = blobs(), blobs(seed=1)
    probe = fit_knn(train, labels, neighbours=neighbours, temperature=temperature)
    expected = [
        brute_force(train, labels, q, neighbours, lambda cosine, _: (cosine / temperature).exp())
        for q in queries
    ]
    assert probe(queries).tolist() == expected


@pytest.mark.parametrize("neighbours", [1, 5, 20, 500])
def test_distance_votes_are_those_of_brute_force(neighbours: int) -> None:
    (train, labels), (queries, _) = blobs(), blobs(seed=1)
    probe = fit_knn(train, labels, neighbours=neighbours, weights="distance")
    expected = [
        brute_force(train, labels, q, neighbours, lambda _, distance: 1 / (distance + 1e-5))
        for q in queries
    ]
    assert probe(queries).tolist() == expected


def test_a_near_neighbour_outvotes_many_farther_ones_at_a_low_temperature() -> None:
    # cosines to (1, 0): 1 for class 3, 0.8 twice for class 5; e^{0.2 t} > 2 where t > 3.47
    train, labels = torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.8, -0.6]]), torch.tensor([3, 5, 5])
    query = torch.tensor([[1.0, 0.0]])
    assert fit_knn(train, labels, temperature=0.07)(query).item() == 3
    assert fit_knn(train, labels, temperature=1 / 3.4)(query).item() == 5
    assert fit_knn(train, labels, temperature=1 / 3.5)(query).item() == 3


def test_a_remote_query_has_votes_by_distance() -> None:
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    probe = fit_knn(train, labels, weights="distance")
    assert probe(torch.tensor([[1e4, 2e4], [2e4, 1e4]])).tolist() == [1, 0]


def test_cosine_is_blind_to_length_and_distance_is_not() -> None:
    train, labels = torch.tensor([[10.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 1])
    query = torch.tensor([[1.0, 0.1]])
    assert fit_knn(train, labels, neighbours=1)(query).item() == 0
    assert fit_knn(train, labels, neighbours=1, weights="distance")(query).item() == 1


def test_a_remote_query_has_votes_at_a_tiny_temperature() -> None:
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    probe = fit_knn(train, labels, temperature=1e-5)
    assert probe(torch.tensor([[-1.0, -0.9], [-0.9, -1.0]])).tolist() == [1, 0]


def test_a_feature_of_zeros_is_near_to_none() -> None:
    train = torch.tensor([[0.0, 0.0], [1.0, 0.1], [1.0, 3.0]])
    probe = fit_knn(train, torch.tensor([0, 1, 2]), neighbours=1)
    queries = torch.tensor([[1.0, 0.0], [1.0, 9.0], [1e-30, 0.0], [0.0, -0.0]])
    assert probe(queries).tolist() == [1, 2, 1, 0]
    # a cosine of 0.32 is more than that of zeros, which is 0
    probe = fit_knn(train[[0, 2]], torch.tensor([0, 2]), neighbours=1)
    assert probe(torch.tensor([[1.0, 0.0]])).item() == 2


def test_linear_probe_solves_its_equation() -> None:
    features, labels = blobs()
    strength = 0.05
    probe = fit_linear(features, labels, strength=strength)
    standard = (features - features.mean(0)) / features.std(0, correction=0)
    targets = torch.unique(labels, return_inverse=True)[1]
    weights = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    intercepts = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def objective() -> Tensor:
        logits = standard.double() @ weights.T + intercepts
        return F.cross_entropy(logits, targets) + strength / 2 * weights.square().sum()

    solver = torch.optim.LBFGS([weights, intercepts], max_iter=500, tolerance_grad=1e-9)

    def closure() -> Tensor:
        solver.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    expected = (standard.double() @ weights.T + intercepts).softmax(1)
    logits = torch.from_numpy(probe.scores(features.numpy()))
    # scikit-learn stops at a gradient of 1e-4
    assert logits.softmax(1).allclose(expected, atol=2e-3)


def test_linear_probe_is_blind_to_the_scale_of_a_feature() -> None:
    (features, labels), (queries, _) = blobs(), blobs(seed=1)
    scale, shift = torch.tensor([1e-3, 1.0, 1e3, 1.0, 5.0, 1.0]), torch.arange(6.0)
    moved = fit_linear(features * scale + shift, labels)(queries * scale + shift)
    assert (moved == fit_linear(features, labels)(queries)).float().mean() > 0.98


def test_a_weaker_strength_fits_closer() -> None:
    features, labels = blobs()

    def fitted(strength: float) -> float:
        probe = fit_linear(features, labels, strength=strength)
        logits = torch.from_numpy(probe.scores(features.numpy()))
        targets = torch.unique(labels, return_inverse=True)[1]
        return float(F.cross_entropy(logits, targets))

    assert fitted(1e-4) < fitted(1e-2) < fitted(1.0) < math.log(3)


@every_probe
def test_classes_are_told_apart_and_keep_their_ids(fit: Fit) -> None:
    (train, labels), (queries, truth) = blobs(600), blobs(seed=1)
    predicted = fit(train, labels)(queries)
    assert predicted.dtype == torch.int64
    assert set(predicted.tolist()) == {7, 40, 1000}
    assert (predicted == truth).float().mean() > 0.75


@every_probe
def test_order_of_training_samples_is_irrelevant_to_the_last_bit(fit: Fit) -> None:
    (train, labels), (queries, _) = blobs(), blobs(seed=1)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(3))
    first, second = fit(train, labels), fit(train[order], labels[order])
    assert (first.scores(queries.numpy()) == second.scores(queries.numpy())).all()


@every_probe
def test_a_sample_is_predicted_alone_as_in_any_batch(fit: Fit) -> None:
    (train, labels), (queries, _) = blobs(), blobs(seed=1)
    probe = fit(train, labels)
    alone = torch.cat([probe(query[None]) for query in queries])
    assert alone.equal(probe(queries))
    assert alone.flip(0).equal(probe(queries.flip(0)))


@every_probe
def test_equal_samples_of_two_classes_go_to_the_lower_id_in_every_order(fit: Fit) -> None:
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(9, 5, generator=generator)
    train, labels = some.repeat(2, 1), torch.tensor([8] * 9 + [2] * 9)
    order = torch.randperm(18, generator=generator)
    assert fit(train, labels)(some).tolist() == 9 * [2]
    assert fit(train[order], labels[order])(some).tolist() == 9 * [2]


@pytest.mark.parametrize("weights", ["cosine", "distance"])
def test_which_of_equally_near_samples_vote_is_no_accident(weights: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(40, 5, generator=generator)
    train, labels = some.repeat(2, 1), torch.tensor([8] * 40 + [2] * 40)
    for _ in range(5):
        order = torch.randperm(80, generator=generator)
        probe = fit_knn(train[order], labels[order], neighbours=1, weights=weights)
        assert probe(some).tolist() == 40 * [2]


@every_probe
def test_features_that_collapsed_to_one_point_are_predicted_alike(fit: Fit) -> None:
    train, labels = torch.ones(12, 4), torch.tensor([5, 3, 4] * 4)
    assert fit(train, labels)(torch.ones(7, 4)).tolist() == 7 * [3]


@every_probe
def test_fitting_twice_gives_the_same_and_draws_no_global_random_number(fit: Fit) -> None:
    (train, labels), (queries, _) = blobs(), blobs(seed=1)
    before = torch.get_rng_state()
    first, second = fit(train, labels)(queries), fit(train, labels)(queries)
    assert first.equal(second)
    assert torch.get_rng_state().equal(before)


@every_probe
def test_a_single_class_is_predicted_everywhere(fit: Fit) -> None:
    probe = fit(torch.randn(3, 4), torch.tensor([11, 11, 11]))
    assert probe(torch.randn(5, 4)).tolist() == 5 * [11]


@every_probe
def test_one_sample_a_class_and_more_dimensions_than_samples_will_do(fit: Fit) -> None:
    train = torch.eye(4, 50)
    probe = fit(train, torch.tensor([9, 1, 5, 3]))
    assert probe(train).tolist() == [9, 1, 5, 3]


@every_probe
def test_two_classes_will_do(fit: Fit) -> None:
    (train, labels), (queries, truth) = blobs(600, (4, -2)), blobs(100, (4, -2), seed=1)
    assert (fit(train, labels)(queries) == truth).float().mean() > 0.75


@every_probe
def test_no_query_gives_no_prediction(fit: Fit) -> None:
    assert fit(*blobs())(torch.zeros(0, 6)).shape == (0,)


@every_probe
def test_half_precision_and_gradients_are_taken_off(fit: Fit) -> None:
    train, labels = blobs()
    probe = fit(train.bfloat16().requires_grad_(), labels)
    assert probe(train.bfloat16().requires_grad_()).shape == labels.shape


@every_probe
def test_no_labelled_sample_and_diverged_features_are_named(fit: Fit) -> None:
    with pytest.raises(UserError, match="no training sample has a label"):
        fit(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    train, labels = blobs()
    with pytest.raises(UserError, match="not finite: the network has diverged"):
        fit(train / 0, labels)
    with pytest.raises(UserError, match="not finite: the network has diverged"):
        fit(train, labels)(train * math.nan)


def test_values_out_of_range_are_refused() -> None:
    features, labels = blobs()
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        fit_knn(features, labels, neighbours=0)
    with pytest.raises(ValueError, match="temperature must be above 0 and finite, got 0"):
        fit_knn(features, labels, temperature=0.0)
    with pytest.raises(ValueError, match="'cosine' or 'distance', got 'dot'"):
        fit_knn(features, labels, weights="dot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="strength must be above 0 and finite, got 0"):
        fit_linear(features, labels, strength=0.0)
    with pytest.raises(ValueError, match="120 features but 3 labels"):
        fit_linear(features, labels[:3])


def test_importing_the_module_does_not_import_the_library() -> None:
    import subprocess
    import sys

    code = "import sys, cl_suite.engine.probes; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
