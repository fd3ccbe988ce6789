"""Prototypes of shared crops: what is chosen, what is written, what is resumed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import make_engine, make_feature_stream, trained
from helpers.view_streams import stream_of_views

from cl_suite.errors import UserError
from cl_suite.features.foreground import foreground_prototype
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.strategies.foreground import ForegroundPlugin, foreground_figures
from cl_suite.strategies.simple_cil import SimpleCILPlugin


def test_without_blend_it_is_class_means() -> None:
    stream, queries = stream_of_views(), torch.randn(9, 16)
    means = trained(SimpleCILPlugin(), stream).model.head
    head = trained(ForegroundPlugin(blend=0.0, alpha=1.0), stream).model.head
    torch.testing.assert_close(head(queries), means(queries))


def test_base_rows_stay_means_and_new_ones_lean_towards_shared_crops() -> None:
    stream = stream_of_views()
    engine = trained(ForegroundPlugin(blend=1.0, alpha=0.5, views=4), stream, num_sessions=2)
    plain = trained(SimpleCILPlugin(), stream, num_sessions=2)
    head, means = engine.model.head, plain.model.head
    assert isinstance(head, CosineHead)
    assert isinstance(means, CosineHead)
    base, new = head.classes[:12], head.classes[12:]
    torch.testing.assert_close(head.rows(base), means.rows(base))
    cosines = F.cosine_similarity(head.rows(new), means.rows(new))
    assert (cosines > 0.5).all()
    assert (cosines < 0.9999).all()


def test_the_choice_rests_on_what_the_head_itself_would_score() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat_interleave(20)
    features = torch.randn(240, 16, generator=generator) + 2 * F.one_hot(labels, 16)
    task = fake_tasks(labels, generator=generator)[0]
    crops = features[task.shots][:, None] + 0.5 * torch.randn(
        len(task.shots), 3, 16, generator=generator
    )
    found = foreground_figures(features, labels, task, crops.double(), (0.0, 0.6), (0.0, 1.0))
    columns, num_base = task.columns(labels), len(task.base_classes)
    head = CosineHead(16, len(task.classes)).double()
    for c in range(num_base):
        rows = task.train[columns[task.train] == c]
        head.set_rows([c], features[rows].double().mean(0, keepdim=True))
    for c in range(num_base, len(task.classes)):
        own = columns[task.shots] == c
        mean = F.normalize(features[task.shots][own].double().mean(0), dim=0)
        shared = foreground_prototype(crops[own].double(), 1.0)
        head.set_rows([c], (0.4 * mean + 0.6 * shared)[None])
    scores = head(features[task.test].double()).float()
    torch.testing.assert_close(found[3], fake_figures(scores, labels, task)[0])
    assert not found[3].equal(found[0]), "the candidates differ, so the test can fail"


def test_what_is_not_given_is_chosen_and_what_is_given_is_taken() -> None:
    plugin = ForegroundPlugin(alpha=0.5)
    trained(plugin, stream_of_views(), num_sessions=1)
    assert plugin.parameters_["alpha"] == 0.5
    assert plugin.session_note(0).startswith("chose blend ")


def test_views_that_are_all_the_same_are_said() -> None:
    with pytest.warns(UserWarning, match=r"foreground: both views of each sample are the same"):
        trained(ForegroundPlugin(), make_feature_stream(), num_sessions=1)


def test_it_resumes_between_sessions_as_if_it_had_never_stopped() -> None:
    stream = stream_of_views()
    through = trained(ForegroundPlugin(blend=0.6), stream)
    state = trained(ForegroundPlugin(blend=0.6), stream, num_sessions=2).state_dict()
    second = make_engine(ForegroundPlugin(blend=0.6), stream)
    second.load_state_dict(state)
    for session in (2, 3):
        second.train_session(session)
    queries = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    assert second.model.head(queries).equal(through.model.head(queries))


def test_a_share_above_1_is_refused() -> None:
    with pytest.raises(UserError, match=r"^blend must be in \[0, 1\], or null, got 2"):
        ForegroundPlugin(blend=2.0)
