"""The Gaussian strategy: pooled covariance, calibrated statistics, chosen shrinkage."""

from __future__ import annotations

import pytest
import torch
from helpers.feature_streams import accuracy, features_of, make_feature_stream, trained

from cl_suite.errors import UserError
from cl_suite.features.calibrators import Calibrator
from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.shot_mixed import ShotMixedHead
from cl_suite.strategies.lda import LDAPlugin, lda_figures
from cl_suite.strategies.prototype import PrototypePlugin


def test_the_shared_covariance_is_that_within_all_classes_so_far() -> None:
    stream = make_feature_stream()
    plugin = LDAPlugin(shrinkage=0.1, shift_weight=0.3)
    engine = trained(plugin, stream)
    parts = [features_of(stream, session) for session in range(4)]
    whole = class_stats(
        torch.cat([f for f, _ in parts]), torch.cat([y for _, y in parts]), kind="shared"
    )
    assert plugin.seen_ is not None
    covariance = plugin.seen_.covariance
    torch.testing.assert_close(covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    assert isinstance(engine.model.head, GaussianHead)
    shared = engine.model.head.shared.double()
    scale = covariance.diagonal().mean()
    inverse = 0.9 * covariance + 0.1 * scale * torch.eye(16)
    identity = torch.eye(16, dtype=torch.float64)
    torch.testing.assert_close(shared @ shared.T @ inverse, identity, rtol=0, atol=1e-4)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_classes_of_few_shots_borrow_from_base_classes(covariance: str) -> None:
    stream = make_feature_stream()
    plugin = LDAPlugin(covariance=covariance, shrinkage=0.2, shift_weight=0.4)  # type: ignore[arg-type]
    head = trained(plugin, stream, num_sessions=2).model.head
    base, new = (class_stats(*features_of(stream, s), kind=covariance) for s in (0, 1))  # type: ignore[arg-type]
    expected = Calibrator(16.0, 0.4, 5.0).calibrate(new, base)
    alone = GaussianHead(16, 14, shape=covariance)  # type: ignore[arg-type]
    for stats in (base, expected):
        alone.set_rows(stats.classes, stats.mean)
        alone.set_covariances(stats.classes, stats.covariance, 0.2)
    queries = torch.randn(7, 16)
    torch.testing.assert_close(head(queries)[:, :14], alone(queries), rtol=1e-3, atol=1e-3)


def test_what_is_not_given_is_chosen_and_what_is_given_is_taken() -> None:
    plugin = LDAPlugin(shift_weight=0.25)
    trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.parameters_["shift_weight"] == 0.25
    assert set(plugin.choice_["table"][:, 1].tolist()) == {0.25}
    assert plugin.parameters_["shrinkage"] in plugin.choice_["table"][:, 0].tolist()


def test_mahalanobis_beats_class_means_where_spread_differs_by_direction() -> None:
    stream = make_feature_stream()
    assert (
        accuracy(trained(LDAPlugin(), stream)) > accuracy(trained(PrototypePlugin(), stream)) + 0.02
    )


def test_a_shrinkage_out_of_range_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^shrinkage must be in \[0, 1\], or null, got 1\.5"):
        LDAPlugin(shrinkage=1.5)


@pytest.mark.parametrize("covariance", ["shared", "diagonal"])
def test_its_state_survives_saving(covariance: str) -> None:
    plugin = LDAPlugin(covariance=covariance)  # type: ignore[arg-type]
    trained(plugin, make_feature_stream(), num_sessions=2)
    copy = LDAPlugin(covariance=covariance)  # type: ignore[arg-type]
    copy.load_state_dict(plugin.state_dict())
    assert copy.base_stats_ is not None
    assert plugin.base_stats_ is not None
    assert copy.base_stats_.total.equal(plugin.base_stats_.total)
    assert copy.parameters_ == plugin.parameters_


def test_the_choice_rests_on_what_the_head_itself_would_score() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    columns, num = task.columns(labels), len(task.classes)
    candidates = [{"shrinkage": s, "shift_weight": w} for s in (0.1, 0.5) for w in (0.0, 0.4)]
    found = lda_figures(candidates, 16.0, features, labels, task)
    for candidate, figures in zip(candidates, found, strict=True):
        base = class_stats(features[task.train], columns[task.train], kind="shared")
        shots = class_stats(features[task.shots], columns[task.shots])
        new = Calibrator(16.0, candidate["shift_weight"]).calibrate(shots, base)
        head = GaussianHead(features.shape[1], num).double()
        for stats in (base, new):
            head.set_rows(stats.classes, stats.mean)
        head.set_shared(base.covariance, candidate["shrinkage"])
        expected = fake_figures(head(features[task.test]), labels, task)[0]
        torch.testing.assert_close(figures, expected, rtol=1e-6, atol=1e-6)
    assert found.std(0).min() > 0, "the candidates differ, so the test can fail"


def test_shots_decide_how_much_the_gaussian_score_counts() -> None:
    stream = make_feature_stream()
    plugin = LDAPlugin(shrinkage=0.1, shift_weight=0.3, shot_midpoint=10.0)
    head = trained(plugin, stream).model.head
    assert isinstance(head, ShotMixedHead)
    assert head.shots.tolist() == [25.0] * 12 + [5.0] * 6
    plain = trained(LDAPlugin(shrinkage=0.1, shift_weight=0.3), stream).model.head
    queries = torch.randn(7, 16)
    assert not head(queries).argmax(1).equal(plain(queries).argmax(1))


def test_the_choice_with_shots_rests_on_what_the_head_itself_would_score() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    plugin = LDAPlugin(shot_midpoint=10.0)
    candidates = [{"shrinkage": g, "shift_weight": a} for g in (0.1, 0.5) for a in (0.0, 0.4)]
    found = lda_figures(candidates, 16.0, features, labels, task, plugin._shares)
    columns = task.columns(labels)
    base = class_stats(features[task.train], columns[task.train], kind="shared")
    new = class_stats(features[task.shots], columns[task.shots])
    for candidate, figures in zip(candidates, found, strict=True):
        head = ShotMixedHead(16, len(task.classes)).double()
        head.set_rows(base.classes, base.mean)
        head.set_shots(base.classes, base.count)
        moved = Calibrator(16.0, candidate["shift_weight"]).calibrate(new, base)
        head.set_rows(new.classes, moved.mean)
        head.set_shots(new.classes, new.count)
        head.set_shared(base.covariance, candidate["shrinkage"])
        expected = fake_figures(head(features[task.test]), labels, task)[0]
        torch.testing.assert_close(figures, expected, rtol=1e-6, atol=1e-6)


def test_with_shots_it_has_no_rule_of_class_statistics() -> None:
    assert LDAPlugin().has_rule
    assert not LDAPlugin(shot_midpoint=10.0).has_rule
