"""ER-ACE: the asymmetric loss by hand, and what is replayed and kept in a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.er_ace import ERACEPlugin, only_rated, with_seen

LOGITS = torch.tensor([[2.0, 1, 0, 1, 0, 0]])
SEEN = torch.tensor([True, True, True, True, False, False])


def engine_with(plugin: ERACEPlugin, *, epochs: int = 1, batch_size: int = 10) -> Engine:
    seed_everything(0)
    stream = make_stream()
    model = build_classifier(
        ModelConfig(head="linear"), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = TrainingConfig(
        base_epochs=epochs,
        incremental_epochs=epochs,
        batch_size=batch_size,
        lr=0.03,
        incremental_lr=None,
        momentum=0,
        weight_decay=0,
        incremental_batchnorm="train",
    )
    return Engine(stream, model, plugin, recipe)


class Noting(ERACEPlugin):
    """Notes each step's loss, and what went into it."""

    def __init__(self) -> None:
        super().__init__(buffer=20, replay_batch=4)
        self.steps: list[dict[str, Any]] = []

    def replay(self, template: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        found = super().replay(template)
        self.steps[-1] |= {"old_logits": found[0].detach(), "old_labels": found[1]}
        return found

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        seen = [] if self.seen_ is None else self.seen_.nonzero()[:, 0].tolist()
        plain = float(template.loss.detach())
        self.steps.append(
            {
                "session": template.experience.current_experience,
                "seen": seen,
                "kept": self.buffer_.num_samples,
                "plain": plain,
                "logits": template.mb_output.detach().clone(),
                "labels": template.mb_y.clone(),
            }
        )
        super().before_backward(template, **kwargs)
        self.steps[-1]["loss"] = float(template.loss.detach())
        self.steps[-1]["slots"] = [slots.tolist() for slots in self._drawn]


def test_seen_classes_that_the_batch_lacks_are_not_rated() -> None:
    rated = only_rated(LOGITS, torch.tensor([2, 3]), SEEN) > torch.finfo(torch.float).min
    assert rated.tolist() == [[False, False, True, True, True, True]]


def test_the_masked_loss_and_the_unmasked_one_are_those_worked_out_by_hand() -> None:
    label = torch.tensor([3])
    masked = F.cross_entropy(only_rated(LOGITS, torch.tensor([2, 3]), SEEN), label)
    assert float(masked) == pytest.approx(math.log(math.e + 3) - 1, abs=1e-6)
    assert float(masked) == pytest.approx(0.743668, abs=1e-6)
    assert float(F.cross_entropy(LOGITS, label)) == pytest.approx(1.761630, abs=1e-6)


def test_the_largest_class_id_is_masked_like_any_other_that_was_seen() -> None:
    seen = torch.tensor([False, True, False, True])
    rated = only_rated(torch.zeros(1, 4), torch.tensor([1]), seen)[0] == 0
    assert rated.tolist() == [True, True, True, False]


def test_the_streams_loss_has_no_gradient_for_absent_old_classes() -> None:
    logits = LOGITS.clone().requires_grad_(True)
    F.cross_entropy(only_rated(logits, torch.tensor([3]), SEEN), torch.tensor([3])).backward()
    assert logits.grad is not None
    assert logits.grad[0, :3].tolist() == [0, 0, 0]
    assert (logits.grad[0, 3:] != 0).all()


def test_seen_classes_add_up_also_where_the_head_widens() -> None:
    seen = with_seen(None, torch.tensor([2, 0]), 3)
    assert seen.tolist() == [True, False, True]
    assert with_seen(seen, torch.tensor([4]), 5).tolist() == [True, False, True, False, True]


def test_each_steps_loss_is_the_papers_formula() -> None:
    plugin = Noting()
    engine = engine_with(plugin, batch_size=2)
    for session in range(3):
        engine.train_session(session)
    first = [s for s in plugin.steps if s["session"] == 0]
    assert len(first) == 24
    assert all(s["loss"] == s["plain"] for s in first)
    later = [s for s in plugin.steps if s["session"] > 0]
    assert len(later) == 6
    for step in later:
        logits, labels = step["logits"], step["labels"].tolist()
        # written out: the batch's classes and those with a row that no batch has had yet
        learned = [c for c in range(8) if logits[0, c].isfinite()]
        rated = [c for c in learned if c in labels or c not in step["seen"]]
        stream = [
            -(row[label] - torch.logsumexp(row[rated], 0))
            for row, label in zip(logits, labels, strict=True)
        ]
        old = F.cross_entropy(step["old_logits"], step["old_labels"])
        expected = float(torch.stack(stream).mean() + old)
        assert step["loss"] == pytest.approx(expected, abs=1e-5)


def test_replay_begins_with_the_second_session_and_repeats_no_sample_in_a_step() -> None:
    plugin = Noting()
    engine = engine_with(plugin)
    for session in range(3):
        engine.train_session(session)
    first = [s for s in plugin.steps if s["session"] == 0]
    assert all(s["slots"] == [] for s in first)
    for step in (s for s in plugin.steps if s["session"] > 0):
        [slots] = step["slots"]
        assert len(set(slots)) == len(slots) == 4


def test_samples_are_kept_right_after_their_step_until_the_reservoir_is_full() -> None:
    plugin = Noting()
    engine = engine_with(plugin)
    engine.train_session(0)
    assert [s["kept"] for s in plugin.steps] == [0, 10, 20, 20, 20]
    assert plugin.buffer_.num_seen == 48


def test_a_sample_is_shown_to_the_reservoir_once_whatever_the_epochs() -> None:
    plugin = ERACEPlugin(buffer=100)
    engine_with(plugin, epochs=3).train_session(0)
    assert plugin.buffer_.num_samples == plugin.buffer_.num_seen == 48
    assert sorted(plugin.buffer_.exemplars.targets) == [c for c in (0, 2, 5, 7) for _ in range(12)]


def test_what_is_kept_is_the_raw_sample() -> None:
    plugin = ERACEPlugin(buffer=100)
    engine = engine_with(plugin)
    engine.train_session(0)
    plain, labels, _ = plugin.buffer_.exemplars.batch(range(48), "eval")
    samples = engine.stream.train[0]
    known = {samples[i][0].numpy().tobytes(): samples[i][1] for i in range(48)}
    raw = (plain * 255).round().to(torch.uint8)
    assert [known[image.numpy().tobytes()] for image in raw] == labels.tolist()


def test_the_plain_replay_is_of_the_samples_drawn() -> None:
    plugin = Noting()
    engine = engine_with(plugin)
    engine.train_session(0)
    assert plugin.replayed_plain() is None
    engine.train_session(1)
    plain = plugin.replayed_plain()
    assert plain is not None
    slots = plugin.steps[-1]["slots"][0]
    assert plain.shape == (4, 1, 16, 16)
    # inserted only after the last step: of the slots drawn some may hold another sample by now
    expected = plugin.buffer_.exemplars.batch(slots, "eval")[0]
    assert plain.equal(expected)


def test_what_is_kept_is_counted() -> None:
    plugin = ERACEPlugin(buffer=7)
    engine = engine_with(plugin)
    assert engine.kept_data() == (0, 0)
    engine.train_session(0)
    num, num_bytes = engine.kept_data()
    assert num == 7
    assert num_bytes == plugin.buffer_.num_bytes > 0


@pytest.mark.parametrize("name", ["buffer", "replay_batch"])
def test_a_buffer_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} must be at least 1, got 0"):
        ERACEPlugin(**{name: 0})


@pytest.mark.parametrize("passes", ["joint", "separate"])
def test_a_step_takes_one_pass_or_two_from_the_second_session_on(passes: Any) -> None:
    sizes: list[int] = []
    engine = engine_with(ERACEPlugin(buffer=20, replay_batch=4, passes=passes))

    def note(_: Any, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))

    handle = engine.model.backbone.register_forward_pre_hook(note)
    engine.train_session(0)
    engine.train_session(1)
    handle.remove()
    # 48 samples in batches of 10, then 6
    assert sizes == [10, 10, 10, 10, 8, *([10] if passes == "joint" else [6, 4])]
