"""Ridge regression, linear discriminant analysis and nearest neighbours against scikit-learn's.

Both sides learn from the same random features and predict the same test features; their answers
must agree, or the benchmark stops. Our heads can learn further sessions without the old data, which
scikit-learn's cannot: a second comparison adds classes in ten sessions.

    python -m benchmarks peers_classifiers [--samples 5000] [--dim 384] [--rounds 7]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from peers import installed
from speed_file import Comparison, cpu_seconds, in_turns, paired, report
from torch import Tensor

from cl_suite.engine.probes import fit_knn
from cl_suite.features.stats import class_stats
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.ridge import RidgeHead

CLASSES, SESSIONS, NEIGHBOURS = 100, 10, 20
RIDGE, SHRINKAGE = 0.1, 0.1
AGREEMENT = 0.999  # samples near a border may fall on either side

Data = tuple[Tensor, Tensor, Tensor]  # features and labels to learn, features to predict
Predict = Callable[[Data], Tensor]  # learns and predicts


def drawn(samples: int, dim: int) -> Data:
    """Return features around random class means, as many of each class."""
    draws = torch.Generator().manual_seed(0)
    means = torch.randn(CLASSES, dim, generator=draws)
    labels = torch.arange(samples) % CLASSES
    noise = torch.randn(2, samples, dim, generator=draws)
    learnt, tested = (means[labels] + 4 * part for part in noise)
    return learnt, labels, tested


@torch.no_grad()
def ridge(data: Data) -> Tensor:
    features, labels, tested = data
    head = RidgeHead(features.shape[1], num_projections=0, balanced=False)
    head.learn(features, labels)
    head.solve(RIDGE)
    return head.scores(tested).argmax(dim=1)


def their_ridge(data: Data) -> Tensor:
    from sklearn.linear_model import RidgeClassifier

    features, labels, tested = data
    # ours has the ridge in units of the mean eigenvalue, targets 0 and 1 and no intercept
    strength = RIDGE * float(features.double().square().sum()) / features.shape[1]
    found = RidgeClassifier(alpha=strength, fit_intercept=False, solver="cholesky")
    model = found.fit(features.double().numpy(), labels.numpy())
    return torch.from_numpy(model.predict(tested.double().numpy()))


@torch.no_grad()
def discriminant(data: Data) -> Tensor:
    features, labels, tested = data
    stats = class_stats(features, labels, kind="shared")
    head = GaussianHead(features.shape[1])
    head.grow(stats.classes)
    head.set_rows(stats.classes, stats.mean.float())
    head.set_shared(stats.covariance, SHRINKAGE)
    return head.scores(tested).argmax(dim=1)


def their_discriminant(data: Data) -> Tensor:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, labels, tested = data
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    model.fit(features.double().numpy(), labels.numpy())
    return torch.from_numpy(model.predict(tested.double().numpy()))


def neighbours(data: Data) -> Tensor:
    features, labels, tested = data
    return fit_knn(features, labels, neighbours=NEIGHBOURS, weights="distance")(tested)


def their_neighbours(data: Data) -> Tensor:
    from sklearn.neighbors import KNeighborsClassifier

    features, labels, tested = data
    model = KNeighborsClassifier(NEIGHBOURS, weights="distance", algorithm="brute")
    # float64, as ours computes
    model.fit(features.double().numpy(), labels.numpy())
    return torch.from_numpy(model.predict(tested.double().numpy()))


def in_sessions(data: Data) -> Tensor:
    """Return predictions after ten sessions of ours, and of a new ridge over all data each time."""
    features, labels, tested = data
    head = RidgeHead(features.shape[1], num_projections=0, balanced=False)
    found = tested.new_zeros(0)
    with torch.no_grad():
        for session in range(SESSIONS):
            rows = labels // (CLASSES // SESSIONS) == session
            head.learn(features[rows], labels[rows])
            head.solve(RIDGE)
            found = head.scores(tested).argmax(dim=1)
    return found


def their_sessions(data: Data) -> Tensor:
    features, labels, tested = data
    found = tested.new_zeros(0)
    for session in range(SESSIONS):
        rows = labels // (CLASSES // SESSIONS) <= session
        found = their_ridge((features[rows], labels[rows], tested))
    return found


PAIRS: dict[str, tuple[Predict, Predict]] = {
    "ridge": (ridge, their_ridge),
    "LDA": (discriminant, their_discriminant),
    f"{NEIGHBOURS} neighbours": (neighbours, their_neighbours),
    f"ridge in {SESSIONS} sessions": (in_sessions, their_sessions),
}


def compared(name: str, data: Data, rounds: int) -> Comparison:
    """Return the comparison of a pair; stop if their answers differ."""
    ours, theirs = PAIRS[name]
    agreed = (ours(data) == theirs(data)).double().mean().item()
    if agreed < AGREEMENT:
        raise SystemExit(f"{name}: the predictions agree on {agreed:.2%} of the samples alone")
    sides: dict[str, Any] = {
        "ours": lambda: 1e3 * cpu_seconds(lambda: ours(data)),
        "theirs": lambda: 1e3 * cpu_seconds(lambda: theirs(data)),
    }
    return paired(name, "theirs / ours", in_turns(sides, rounds), unit="CPU ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    notes: list[str] = []
    found: list[Comparison] = []
    if installed("sklearn", notes):
        data = drawn(options.samples, options.dim)
        found = [compared(name, data, options.rounds) for name in PAIRS]
    report("peers_classifiers", "Classifiers of features against scikit-learn", found, notes=notes)


if __name__ == "__main__":
    main()
