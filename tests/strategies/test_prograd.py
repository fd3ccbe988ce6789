"""ProGrad's gradient rule by hand, and around hosts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_models import make_plugin
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.strategies.prograd import ROUNDING, ProGradPlugin, aligned, general_loss, trained

TASK, GENERAL = torch.tensor([1.0, 2.0]), torch.tensor([1.0, -1.0])


def rule(task: Tensor, general: Tensor, strength: float = 1.0) -> Tensor:
    (found,) = aligned([task], [general], strength=strength, scope="tensor")
    assert found is not None
    return found


def close(*values: float) -> object:
    return pytest.approx(values, abs=5e-7)  # the oracles have six digits


def test_the_contradicting_part_is_removed() -> None:
    found = rule(TASK, GENERAL)
    assert found.tolist() == [1.5, 1.5]
    assert float(found @ GENERAL) == 0
    assert rule(TASK, GENERAL, 0.8).tolist() == close(1.4, 1.6)


def test_a_gradient_that_agrees_stays() -> None:
    assert rule(TASK, torch.ones(2)).equal(TASK)


def test_without_strength_or_general_gradient_the_tasks_stays() -> None:
    assert rule(TASK, GENERAL, 0.0).equal(TASK)
    assert rule(TASK, torch.zeros(2)).equal(TASK)
    (found,) = aligned([TASK], [None], strength=1.0, scope="tensor")
    assert found is TASK
    assert aligned([None], [GENERAL], strength=1.0, scope="global") == [None]


def test_the_opposite_gradient_leaves_nothing() -> None:
    assert rule(TASK, -TASK).tolist() == [0.0, 0.0]


def test_gradients_of_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    earlier = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    task = F.cross_entropy(logits, torch.tensor([0]))
    general = general_loss(logits, earlier)
    assert [task.item(), general.item()] == close(0.407606, 1.407606)
    (g,) = torch.autograd.grad(task, logits, retain_graph=True)
    (k,) = torch.autograd.grad(general, logits)
    assert g[0].tolist() == close(-0.334759, 0.090031, 0.244728)
    assert k[0].tolist() == close(0.242922, -0.332288, 0.089366)
    assert rule(g, k)[0].tolist() == close(-0.212395, -0.077349, 0.289744)


def test_all_tensors_together_are_compared_as_one_vector() -> None:
    task = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
    general = [torch.tensor([1.0, -1.0]), torch.tensor([1.0])]
    # -1 of the first and 3 of the second
    found = aligned(task, general, strength=1.0, scope="global")
    assert [each.equal(g) for each, g in zip(found, task, strict=True)] == [True, True]
    general[1] = torch.tensor([-1.0])
    joined = torch.cat(task) + 4 / 3 * torch.cat(general)
    found = aligned(task, general, strength=1.0, scope="global")
    torch.testing.assert_close(torch.cat([f for f in found if f is not None]), joined)


# --- around hosts


def made(plugin: Any, **changes: Any) -> Engine:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    recipe = {"batch_size": 16, "lr": 0.02, "base_epochs": 2, "incremental_epochs": 2, **changes}
    return Engine(stream, model, plugin, TrainingConfig(**recipe))


def run(plugin: Any, sessions: int = 3, **changes: Any) -> Engine:
    engine = made(plugin, **changes)
    for session in range(sessions):
        engine.train_session(session)
    return engine


HOSTS = ("finetune", "er", "er_ace", "der", "replay", "ewc", "supcon_replay")


@pytest.mark.parametrize("host", HOSTS)
def test_no_strength_leaves_the_host_as_it_is_and_any_changes_later_sessions(host: str) -> None:
    first = {k: v.clone() for k, v in run(ProGradPlugin(host=host), 1).model.state_dict().items()}
    alone = run(ProGradPlugin(host=host, strength=0.0), 1).model.state_dict()
    assert all(alone[name].equal(value) for name, value in first.items())
    # with a memory, it takes long steps to contradict what was known
    long = {"lr": 0.2, "incremental_epochs": 6}
    off = run(ProGradPlugin(host=host, strength=0.0), **long)
    on = run(ProGradPlugin(host=host), **long)
    assert not off.model.head.weight.equal(on.model.head.weight)


def test_without_strength_it_is_the_host_to_the_bit() -> None:
    alone = run(make_plugin("finetune")).model.state_dict()
    wrapped = run(ProGradPlugin(host="finetune", strength=0.0)).model.state_dict()
    assert all(wrapped[name].equal(value) for name, value in alone.items())


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_no_step_of_a_later_session_contradicts_what_was_known(
    scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dots: list[float] = []
    plugin = ProGradPlugin(scope=scope)

    def watched(task: Any, general: Any, **options: Any) -> Any:
        found = aligned(task, general, **options)
        triples = zip(found, task, general, strict=True)
        parts = [[each] for each in triples if each[2] is not None]
        if scope == "global":
            parts = [[each for part in parts for each in part]]
        for part in parts:
            f, g, k = (
                torch.cat([each.flatten().double() for each in row])
                for row in zip(*part, strict=True)
            )
            # where network and teacher still agree, the general gradient is rounding
            if k.norm() > ROUNDING * g.norm():
                dots.append(float(f @ k / (1e-6 + f.norm() * k.norm())))
        return found

    monkeypatch.setattr("cl_suite.strategies.prograd.aligned", watched)
    run(plugin)
    assert len(dots) >= 2
    assert min(dots) > -1e-5, "but for rounding"


def test_it_forgets_less_than_its_host() -> None:
    def lost(strength: float) -> float:
        engine = run(ProGradPlugin(host="finetune", strength=strength))
        base = engine.evaluate(2)[:4]
        return 1 - float(base.diagonal().sum() / base.sum())

    assert lost(1.0) <= lost(0.0)


def test_it_resumes_within_a_session_as_if_it_had_never_stopped() -> None:
    through, states = run(ProGradPlugin(host="er")), []
    engine = made(ProGradPlugin(host="er"))

    def keep(record: Any) -> None:
        if (record.session, len(states)) == (2, 0):
            states.append(copy.deepcopy(engine.state_dict()))

    engine.on_epoch = keep
    for session in range(3):
        engine.train_session(session)
    resumed = made(ProGradPlugin(host="er"))
    resumed.load_state_dict(states[0])
    resumed.train_session(2)
    expected = through.model.state_dict()
    found = resumed.model.state_dict()
    assert all(found[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("simclr", "learns no classifier"),
        ("teen", "writes its classifier's rows"),
        ("picle", "must be told the session"),
        ("cler", "is a wrapper itself"),
    ],
)
def test_a_host_that_it_cannot_help_is_refused(host: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ProGradPlugin(host=host)


def test_frozen_parameters_are_left_out() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert len(trained(model)) == 2


def test_a_general_gradient_as_small_as_rounding_says_nothing() -> None:
    task, noise = torch.tensor([3.0, 4.0]), torch.tensor([-1e-6, 0.0])
    (found,) = aligned([task], [noise], strength=1.0, scope="tensor")
    assert found is not None
    assert found.equal(task)
    (found,) = aligned([task], [1e3 * noise], strength=1.0, scope="tensor")
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([0.0, 4.0]))
