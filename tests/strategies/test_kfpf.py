"""k-FPF: phases of partial fine-tuning instead of replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from avalanche.models import IncrementalClassifier
from helpers.tiny_models import make_plugin
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.partial_tuning import SGD_RATE
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import requirements_of, rows_of
from cl_suite.randomness import seed_everything
from cl_suite.strategies import KFPFPlugin


def trained(plugin: Any, **recipe: Any) -> Engine:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    settings = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 16, "lr": 0.02}
    engine = Engine(stream, model, plugin, TrainingConfig(**{**settings, **recipe}))
    for session in range(3):
        engine.train_session(session)
    return engine


def state(engine: Engine) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in engine.model.state_dict().items()}


def test_phases_come_at_their_steps_and_read_so_many_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugin, steps = KFPFPlugin(phases=3, iterations=2, batch=4, buffer=10), []
    phase = KFPFPlugin._phase
    monkeypatch.setattr(
        KFPFPlugin,
        "_phase",
        lambda self, strategy: (steps.append(self.step_), phase(self, strategy)),
    )
    engine = trained(plugin)
    # 48 samples in batches of 16 and 2 epochs are 6 steps, 6 samples in one batch are 2
    assert steps == [2, 4, 6, 1, 2, 1, 2]
    assert plugin.tuned_samples_ == len(steps) * 2 * 4
    assert engine.kept_data()[0] == 10


def test_without_phases_it_is_plain_training() -> None:
    # bit for bit, but for the random numbers that the reservoir draws
    plugin = KFPFPlugin(phases=0, buffer=1000)
    assert all(
        v.equal(state(trained(make_plugin("finetune")))[k])
        for k, v in state(trained(plugin)).items()
    )


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (None, [0.02, 0.02, 0.02, 0.005, 0.005, 0.005, 0.005]),
        (0.3, [0.3] * 7),
    ],
    ids=["the session's at its beginning", "given"],
)
def test_every_phase_starts_at_the_full_rate_whatever_the_schedule_has_come_to(
    lr: float | None, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr("cl_suite.strategies.kfpf.tune", lambda *_, lr, **__: rates.append(lr))
    plugin = KFPFPlugin(phases=3, iterations=2, batch=4, buffer=10, lr=lr)
    # three phases in the base session; the two steps of later ones hold two
    trained(plugin, schedule="cosine", lr=0.02, incremental_lr=0.005)
    assert rates == pytest.approx(expected)


def test_beside_an_adaptive_optimiser_phases_have_a_rate_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: list[float] = []
    monkeypatch.setattr("cl_suite.strategies.kfpf.tune", lambda *_, lr, **__: rates.append(lr))
    plugin = KFPFPlugin(phases=1, iterations=2, batch=4, buffer=10)
    trained(plugin, optimizer="adamw", lr=0.0005)
    assert set(rates) == {SGD_RATE}


@pytest.mark.parametrize(("distilled", "last_session"), [("session", [3, 4]), ("seen", range(8))])
def test_each_sample_is_kept_once_with_the_logits_of_its_moment(
    distilled: Any, last_session: Sequence[int]
) -> None:
    plugin = KFPFPlugin(iterations=1, batch=4, distilled=distilled, buffer=1000)
    trained(plugin)
    assert plugin.buffer_ is not None
    kept = plugin.buffer_.exemplars
    assert len(kept) == 48 + 6 + 6
    _, labels, extras = kept.batch(range(len(kept)), "eval")
    known = extras["logits"].isfinite()
    assert known[:48].sum(1).tolist() == [4] * 48  # the classes of the base session
    assert known[-6:].all(0).nonzero().flatten().tolist() == list(last_session)
    assert known[-6:].sum() == 6 * len(last_session)
    assert labels[-6:].unique().tolist() == [3, 4]


def test_logits_kept_are_those_of_the_last_epoch_of_their_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last: dict[tuple[int, int], Tensor] = {}  # by session and row
    original = KFPFPlugin.after_training_iteration

    def watched(self: KFPFPlugin, template: Any, **kwargs: Any) -> None:
        session = template.experience.current_experience
        for row, logits in zip(rows_of(template, self).tolist(), template.mb_output, strict=True):
            last[session, row] = logits.detach()
        original(self, template, **kwargs)

    monkeypatch.setattr(KFPFPlugin, "after_training_iteration", watched)
    plugin = KFPFPlugin(phases=1, iterations=1, batch=4, distillation=0.5, buffer=30)
    trained(plugin)
    _, labels, extras = plugin.buffer_.exemplars.batch(range(30), "eval")
    base = [0, 2, 5, 7]
    found = extras["logits"][torch.isin(labels, torch.tensor(base))][:, base]
    wanted = torch.stack([logits for (session, _), logits in last.items() if session == 0])[:, base]
    assert len(found) > 10
    # by products of matrices, equal rows can be 0.008 apart
    apart = torch.cdist(found, wanted, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(apart.min(1).values.max()) < 1e-4


@pytest.mark.parametrize(("distilled", "known"), [("session", (2, 2, 1)), ("seen", (2, 4, 5))])
def test_logits_kept_widen_with_an_output_that_grows(
    distilled: Any, known: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    plugin, model = KFPFPlugin(iterations=2, batch=4, distilled=distilled), Growing()
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=1,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    for experience in benchmark(make_stream([[0, 1], [3, 2], [4]])).train_stream:
        template.train(experience)
    assert plugin.buffer_ is not None
    kept = plugin.buffer_.exemplars.batch(range(33), "eval")[2]["logits"]
    base, second, third = known
    assert kept.isfinite().sum(1).tolist() == [base] * 24 + [second] * 6 + [third] * 3


class Growing(nn.Module):
    """A network that knows nothing of cl-suite, with an output for each class so far."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.classifier = IncrementalClassifier(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.body(x))
        return logits


def test_it_cannot_begin_after_another_run_whose_steps_filled_no_reservoir() -> None:
    assert requirements_of(KFPFPlugin()).carries_base_state


def test_distillation_and_its_form_change_what_a_phase_learns() -> None:
    def head(**given: Any) -> Tensor:
        return state(trained(KFPFPlugin(iterations=5, batch=8, buffer=30, **given)))["head.weight"]

    plain, session, seen = head(distillation=0), head(), head(distilled="seen")
    assert not plain.equal(session)
    assert not plain.equal(seen)
    assert not session.equal(seen)


def test_what_makes_no_sense_is_refused_before_training() -> None:
    info = make_stream().info
    with pytest.raises(UserError, match="phases come within the first"):
        KFPFPlugin(groups="sensitive").check_stream(info, [48, 6, 6])
    with pytest.raises(UserError, match="less than one sample for each"):
        KFPFPlugin(buffer=3).check_stream(info, [48, 6, 6])
