"""COCONUT: its loss terms, the streams that it runs on, and bad input."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import make_feature_stream
from helpers.tiny_coconut import Recording, make_engine, run, same, weights
from helpers.tiny_sounds import write_digits

from cl_suite.errors import UserError
from cl_suite.losses.nspt import multimodal_loss, nspt_loss
from cl_suite.models.features import feature_function
from cl_suite.plugin import Template
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.strategies.coconut import COCONUTPlugin, default_nspt_weight, projections_of
from cl_suite.strategies.er import ERPlugin

# what is added to the loss


class Checking(Recording):
    """Works out what should be added, from the networks as they are in the step."""

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        super().before_backward(template, **kwargs)
        teacher, labels = self.teacher(template), template.mb_y
        parts, rehearsal = template.model.coconut, torch.isin(labels, torch.tensor([7, 2, 5, 0]))
        features = self._tap.features
        a = F.linear(features, parts.first.weight, parts.first.bias)
        rows = torch.stack([parts.labels.rows([int(c)])[0] for c in labels])
        t = F.linear(rows, parts.second.weight, parts.second.bias)
        total = 0.1 * multimodal_loss(a, t, anchors=~rehearsal if teacher else None)
        if teacher is not None:
            with torch.no_grad():
                old = feature_function(teacher)(template.mb_x)
                own = projections_of(teacher).first
                b = F.linear(old, own.weight, own.bias)
            total = total + 4 / 2 * nspt_loss(a, b, labels=labels, rehearsal=rehearsal)
        self.expected.append(total.detach()[None])


@pytest.mark.parametrize("sessions", [1, 2])
def test_both_terms_are_added_with_their_weights(sessions: int) -> None:
    plugin = Checking(buffer=12)
    run(make_engine(plugin), sessions)
    assert len(plugin.added) > 2
    torch.testing.assert_close(torch.stack(plugin.added), torch.stack(plugin.expected))
    assert torch.stack(plugin.added).min() > 0


def test_the_weight_of_nspt_is_old_classes_over_new_ones() -> None:
    assert default_nspt_weight([7, 2, 5, 0], [6, 1]) == 2
    assert default_nspt_weight([], [3, 4]) == 0
    assert default_nspt_weight([1, 2, 3], [3, 4]) == 3
    assert default_nspt_weight([1, 2, 3], [1, 2]) == 1.5  # none is new


def test_the_first_session_has_no_nspt() -> None:
    plugin = Recording(buffer=12, modality="none")
    run(make_engine(plugin), 1)
    assert torch.stack(plugin.added).eq(0).all()
    assert plugin.teacher_passes[0] == []


@pytest.mark.parametrize("off", [{"nspt_weight": 0.0}, {"modality": "none"}])
def test_a_term_can_be_switched_off(off: dict[str, Any]) -> None:
    only, both = Recording(buffer=12, **off), Recording(buffer=12)
    for plugin in (only, both):
        run(make_engine(plugin, base_epochs=0, incremental_epochs=1), 2)
    assert torch.stack(only.added)[0] > 0
    assert torch.stack(both.added)[0] > torch.stack(only.added)[0]


def test_without_both_terms_it_is_plain_rehearsal_to_the_bit() -> None:
    ours = run(make_engine(COCONUTPlugin(buffer=12, nspt_weight=0, modality="none")))
    plain = run(make_engine(ERPlugin(buffer=12, replay="union")))
    for prefix in ("backbone.", "head."):
        assert same(weights(ours, prefix), weights(plain, prefix))


@pytest.mark.parametrize("parameters", [{}, {"denominator": "teacher_all"}, {"anchors": "all"}])
def test_the_terms_change_what_is_learned(parameters: dict[str, Any]) -> None:
    ours = run(make_engine(COCONUTPlugin(buffer=12, **parameters)), 2)
    plain = run(make_engine(ERPlugin(buffer=12, replay="union")), 2)
    assert not same(weights(ours, "backbone."), weights(plain, "backbone."))


# streams


def test_on_a_frozen_backbone_predictions_are_those_of_plain_rehearsal_with_a_warning() -> None:
    stream = make_feature_stream()
    with pytest.warns(UserWarning, match="predictions are those of er"):
        ours = run(make_engine(COCONUTPlugin(buffer=40, modality="none"), stream, "identity"), 2)
    plain = run(make_engine(ERPlugin(buffer=40, replay="union"), stream, "identity"), 2)
    assert same(weights(ours, "head."), weights(plain, "head."))
    fresh = make_engine(COCONUTPlugin(buffer=40, modality="none"), stream, "identity")
    assert not ours.model.coconut.first.weight.equal(fresh.model.coconut.first.weight)


def test_labels_work_on_a_frozen_backbone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = run(make_engine(COCONUTPlugin(buffer=40), make_feature_stream(), "identity"), 2)
    assert engine.evaluate(1).sum() == 20 * 14


def test_it_learns_sounds(tmp_path: Path) -> None:
    root = write_digits(tmp_path)
    stream = SpokenDigits(root=str(root), seconds=0.2, augment=False).build()
    plugin = COCONUTPlugin(buffer=8)
    recipe = {"incremental_batchnorm": "train", "base_epochs": 10, "incremental_epochs": 10}
    engine = run(make_engine(plugin, stream, "melconv", **recipe), 2)
    confusion = engine.evaluate(1)
    assert confusion.diagonal().sum() / confusion.sum() > 0.7


# bad input


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"denominator": "students"}, "denominator must be one of student_all, .*'students'"),
        ({"anchors": "current"}, "anchors must be one of rehearsal, all, got 'current'"),
        ({"reduction": "none"}, "reduction must be one of mean, sum, got 'none'"),
        ({"modality": "caption"}, "modality must be one of label, view, text, none, .*'caption'"),
        ({"multimodal_anchors": "old"}, "multimodal_anchors must be one of current, all, .*'old'"),
        ({"nspt_weight": -1.0}, "nspt_weight must be at least 0, or null, got -1.0"),
        ({"nspt_weight": float("nan")}, "nspt_weight must be a finite number, or null, got nan"),
        ({"multimodal_weight": -0.1}, "multimodal_weight must be at least 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be at least 0.001, got 0.0"),
        ({"projection_dim": 0}, "projection_dim must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_trained(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        COCONUTPlugin(buffer=12, **parameters)
