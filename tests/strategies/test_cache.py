"""The cache beside class means: what is kept, what it scores, what is chosen."""

from __future__ import annotations

import pytest
import torch
from helpers.feature_streams import accuracy, features_of, make_engine, make_feature_stream, trained
from helpers.view_streams import stream_of_views

from cl_suite.errors import UserError
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.heads.cache import CacheHead
from cl_suite.strategies.cache import CachePlugin, drawn_rows
from cl_suite.strategies.simple_cil import SimpleCILPlugin


def test_later_sessions_append_their_shots_and_leave_the_rest() -> None:
    stream = make_feature_stream()
    plugin = CachePlugin(base_keys=4)
    engine = make_engine(plugin, stream)
    engine.train_session(0)
    head = engine.model.head
    assert isinstance(head, CacheHead)
    assert torch.bincount(head.owners).tolist() == [4] * 12
    before = head.samples.clone()
    engine.train_session(1)
    assert head.samples[:, : before.shape[1]].equal(before)
    assert torch.bincount(head.owners).tolist() == [4] * 12 + [5] * 2
    assert plugin.kept_data() == (58, 58 * 16 * 4)
    features, labels = features_of(stream, 1)
    own = torch.nn.functional.normalize(features.float()[labels == 12])
    torch.testing.assert_close(head.samples[0, 48:53], own)


def test_the_drawn_rows_are_as_many_of_each_class_and_follow_the_seed() -> None:
    labels = torch.tensor([7] * 5 + [2] * 3)
    rows = drawn_rows(labels, 4, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[rows]).tolist()[2::5] == [3, 4]
    assert rows.equal(drawn_rows(labels, 4, torch.Generator().manual_seed(0)))
    assert drawn_rows(labels, None, torch.Generator()).tolist() == list(range(8))


def test_without_weight_it_is_class_means() -> None:
    stream, queries = make_feature_stream(), torch.randn(9, 16)
    means = trained(SimpleCILPlugin(), stream).model.head
    head = trained(CachePlugin(alpha=0.0), stream).model.head
    torch.testing.assert_close(head(queries), means(queries))


def test_the_choice_rests_on_what_the_head_itself_would_score() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    plugin = CachePlugin(base_keys=3)
    betas, alphas = (1.0, 16.0), (0.0, 0.6, 2.0)
    found = plugin.figures(features, labels, task, betas, alphas)
    columns, num = task.columns(labels), len(task.classes)
    drawn = drawn_rows(labels[task.train], 3, torch.Generator().manual_seed(0))
    keys = torch.cat([task.train[drawn], task.shots])
    for i, (beta, alpha) in enumerate((b, a) for b in betas for a in alphas):
        head = CacheHead(16, num, alpha=alpha, beta=beta).double()
        for rows in (task.train, task.shots):
            for c in torch.unique(columns[rows]).tolist():
                head.set_rows([c], features[rows][columns[rows] == c].mean(0, keepdim=True))
        head.append(features[keys][None], columns[keys])
        expected = fake_figures(head(features[task.test]), labels, task)[0]
        torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-6)
    assert found.std(0).min() > 0, "the candidates differ, so the test can fail"


def test_what_is_not_given_is_chosen_and_what_is_given_is_taken() -> None:
    plugin = CachePlugin(beta=5.5)
    trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.parameters_["beta"] == 5.5
    assert set(plugin.choice_["table"][:, 1].tolist()) == {5.5}
    assert plugin.session_note(0).startswith("chose alpha ")


def test_it_is_no_worse_than_class_means_on_gaussian_classes() -> None:
    stream = make_feature_stream()
    assert accuracy(trained(CachePlugin(), stream)) >= accuracy(trained(SimpleCILPlugin(), stream))


def test_each_view_is_a_cache_of_its_own() -> None:
    head = trained(CachePlugin(alpha=1.0, beta=5.0, views=2), stream_of_views()).model.head
    assert isinstance(head, CacheHead)
    assert head.samples.shape == (3, 12 * 25 + 6 * 5, 16)
    assert not head.samples[0].equal(head.samples[1])
    one = trained(CachePlugin(alpha=1.0, beta=5.0), stream_of_views()).model.head
    assert isinstance(one, CacheHead)
    assert one.samples[0].equal(head.samples[0])


@pytest.mark.parametrize("views", [0, 1])
def test_it_resumes_between_sessions_as_if_it_had_never_stopped(views: int) -> None:
    stream = stream_of_views()
    through = trained(CachePlugin(views=views), stream)
    state = trained(CachePlugin(views=views), stream, num_sessions=2).state_dict()
    second = make_engine(CachePlugin(views=views), stream)
    second.load_state_dict(state)
    for session in (2, 3):
        second.train_session(session)
    queries = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    assert second.model.head(queries).equal(through.model.head(queries))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UserError, match=r"^alpha must be at least 0, or null, got -1"):
        CachePlugin(alpha=-1.0)
