"""A run that chooses its learning rate: what it reads, draws, computes and keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import shared_work
from helpers.guarded_scenario import Guarded
from helpers.tiny_clip import write_tiny_clip
from helpers.tiny_clip_stream import colour_stream
from helpers.tiny_coact import VIT
from helpers.tiny_runs import SETTINGS, assert_equal_runs, interrupt_after, refused, run
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.data.stream import Stream
from cl_suite.models.classifier import Classifier
from cl_suite.models.encoder import Encoder
from cl_suite.models.stages import cut
from cl_suite.randomness import random_state
from cl_suite.requirements import requirements_of, unmet
from cl_suite.runs import rate_trials
from cl_suite.runs.assemble import build_model
from cl_suite.runs.config import RunConfig, resolve
from cl_suite.runs.rate_choice import NONE, RATES, RateChoice
from cl_suite.runs.rate_trials import choose_rate
from cl_suite.testing.several import in_processes

NETWORK = ["--model.backbone=vit_tiny_patch16_224", f"--model.backbone_args={json.dumps(VIT)}"]


def config_of(*more: str) -> RunConfig:
    arguments = [*NETWORK, "--device=cpu", "--training.base_epochs=4", *more]
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "coact")
    (config,), _ = resolve(*pair, arguments)
    return config


def small(*more: str) -> tuple[RunConfig, Stream, Classifier]:
    """Return settings, a stream whose later sessions and test images refuse, and its network."""
    config = replace(config_of(*more), scenario=Guarded())
    stream = Guarded().build()
    model, _ = build_model(
        replace(config, model=replace(config.model, backbone_args={**VIT, "img_size": 28})), stream
    )
    return config, stream, model


def without_times(choice: RateChoice) -> RateChoice:
    return replace(choice, seconds=0.0)


def test_it_reads_no_test_image_and_no_later_session() -> None:
    choice = choose_rate(*small())
    assert [each.rate for each in choice.candidates] == [NONE, *RATES["sgd"]]


def test_the_choice_is_deterministic_and_moves_no_random_state() -> None:
    config, stream, model = small()
    before = random_state()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = choose_rate(config, stream, model), choose_rate(config, stream, model)
    after = random_state()
    assert without_times(first) == without_times(second)
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    assert (before["numpy"][1] == after["numpy"][1]).all()
    assert all(weights[name].equal(tensor) for name, tensor in model.state_dict().items())
    assert weights.keys() == model.state_dict().keys()  # no adapter was added
    assert config.strategy.classes_ == []


def test_two_finalists_are_tried_on_every_fake_stream() -> None:
    choice = choose_rate(*small())
    streams = [each.streams for each in choice.candidates if each.rate != NONE]
    assert sorted(streams) == [1, 1, 3, 3]


def test_the_network_stays_as_it_is_if_no_rate_helps() -> None:
    choice = RateChoice(NONE, choose_rate(*small()).candidates)
    assert choice.applied(config_of().training).epochs(0) == 0


def test_a_rate_at_which_training_diverges_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "sgd", (1e30,))  # type: ignore[arg-type]  # a dict
    choice = choose_rate(*small())
    assert choice.rate == NONE
    assert choice.candidates[1].score <= choice.candidates[0].score


class Counted(nn.Module):
    """A block that counts the samples that it runs."""

    def __init__(self, block: nn.Module, counts: list[int]) -> None:
        super().__init__()
        self.block, self.counts = block, counts

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        return self  # the block is frozen, and copies count together

    def forward(self, x: Tensor) -> Tensor:
        self.counts.append(len(x))
        hidden: Tensor = self.block(x)
        return hidden


@pytest.mark.parametrize(("blocks", "once"), [(1, True), (-1, False)])
def test_frozen_blocks_are_computed_once(blocks: int, once: bool) -> None:
    config, stream, model = small(
        f"--strategy.adapt_blocks={blocks}", "--strategy.tune_from_block=null"
    )
    counts: list[int] = []
    body: Any = model.backbone.body
    body.blocks[0] = Counted(body.blocks[0], counts)
    choose_rate(config, stream, model)
    views = 1 + 8  # of each training image, for all trials together
    if once:
        assert sum(counts) == views * len(stream.train[0]) + 1  # one probe of its shape
    else:
        assert sum(counts) > views * len(stream.train[0])


@pytest.mark.parametrize(
    ("settings", "block"),
    [
        ({"adapt_blocks": -1}, 0),
        ({"adapt_blocks": 2, "tune_from_block": None}, 2),
        ({"adapt_blocks": 1, "tune_from_block": 1}, 1),
        ({"adapt_blocks": 1, "tune_from_block": 99}, 3),
        ({"adapt_blocks": 1, "tune_from_block": -1}, -1),
    ],
)
def test_coact_knows_its_first_changed_block(settings: dict[str, Any], block: int) -> None:
    from cl_suite.strategies.coact import CoACTPlugin

    _, _, model = small()
    assert max(CoACTPlugin(**settings).first_changed_block(model), -1) == max(block, 0) or (
        block == -1 and CoACTPlugin(**settings).first_changed_block(model) < 1
    )
    assert cut(Encoder(model).body).num_blocks == 4


def test_too_few_base_classes_take_the_lowest_rate() -> None:
    config, _, model = small()
    said: list[str] = []
    choice = choose_rate(config, make_stream(((0, 1), (2, 3)), size=28), model, said.append)
    assert choice.rate == RATES["sgd"][0]
    assert said == [
        "learning rate: 0.003, the lowest, as a choice needs 4 base classes of 4 images, and there "
        "are 2"
    ]


@pytest.mark.parametrize(
    ("strategy", "optimizer", "own"),
    [("clip_lora", "adamw", ()), ("cpe_clip", "sgd", ("--strategy.lr_per_epoch=null",))],
)
def test_methods_of_clip_choose_too(
    strategy: str, optimizer: str, own: tuple[str, ...], tmp_path: Path
) -> None:
    clip = write_tiny_clip(tmp_path)
    arguments = [f"--model.backbone=clip:{clip}", f"--model.weights={clip}", "--device=cpu", *own]
    arguments += ["--model.pretrained=false", "--training.lr=auto", "--training.base_epochs=2"]
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", strategy)
    (config,), _ = resolve(*pair, arguments)
    stream = colour_stream([[7, 2, 5, 0, 3], [6, 1]], base_shots=5)
    model, _ = build_model(config, stream)
    choice = choose_rate(config, stream, model)
    assert [each.rate for each in choice.candidates] == [NONE, *RATES[optimizer]]
    recipe = RateChoice(NONE).applied(config.training)
    assert (recipe.epochs(0), recipe.epochs(1)) == (0, 0)
    assert unmet(requirements_of(config.strategy), config) is None


RUN: dict[str, Any] = {
    "model.backbone": "vit_tiny_patch16_224",
    "model.backbone_args": {**VIT, "img_size": 28, "patch_size": 7},
    "training.lr": "auto",
}


def chosen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())["rate_choice"]
    return found


def test_a_resumed_run_repeats_no_choice_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a rate for certain, so that the base session has epochs to be stopped in
    monkeypatch.setattr(rate_trials, "decide", lambda candidates: 0.01)
    whole = run(tmp_path / "whole", "coact", **RUN)
    assert chosen(whole)["rate"] == 0.01
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", "coact", **RUN)
    monkeypatch.setattr(rate_trials, "choose_rate", None)  # calling it would fail
    resumed = run(tmp_path / "cut", "coact", resume=True, **RUN)
    assert_equal_runs(whole, resumed)
    assert chosen(resumed)["candidates"] == chosen(whole)["candidates"]


def test_a_choice_of_no_tuning_is_said_and_trains_no_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_trials, "decide", lambda candidates: NONE)
    folder = run(tmp_path, "coact", **RUN)
    assert chosen(folder)["rate"] == NONE
    assert not (folder / "dynamics.jsonl").exists()
    text = (folder / "config.yaml").read_text()
    assert "lr: auto" in text  # the settings stay those of the user


@pytest.mark.slow
def test_two_processes_choose_what_one_chooses(tmp_path: Path) -> None:
    arguments = [f"--{name}={value}" for name, value in SETTINGS.items()]
    network = {"img_size": 28, "patch_size": 7, "embed_dim": 32, "depth": 1, "num_heads": 2}
    arguments += [NETWORK[0], f"--model.backbone_args={json.dumps(network)}", "--device=cpu"]
    choices = []
    for size in (1, 2):
        out = tmp_path / str(size)
        in_processes(
            shared_work.command,
            size,
            tmp_path,
            ["run", "omniglot", "coact", *arguments, f"--out={out}"],
        )
        printed = "".join((tmp_path / f"out{rank}.txt").read_text() for rank in range(size))
        assert printed.count("choosing the learning rate") == 1
        choices.append(chosen(out / "omniglot" / "coact" / "seed0"))
    one, two = choices
    assert [each["rate"] for each in one["candidates"]] == [
        each["rate"] for each in two["candidates"]
    ]
    assert one["rate"] == two["rate"]
    assert one["passes"] == two["passes"]


def test_other_strategies_are_refused_before_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    error = refused(
        capsys, "run", "omniglot", "finetune", "--training.lr", "auto", "--out", str(tmp_path)
    )
    assert "strategy 'finetune' does not tune a pretrained backbone" in error
    assert "pass a number, such as --training.lr 0.01" in error
    assert list(tmp_path.iterdir()) == []


def test_a_strategy_with_rates_of_its_own_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "run", "omniglot", "cpe_clip", "--training.lr", "auto")
    assert "takes its learning rates from --strategy.lr_per_epoch" in error
    assert "pass --strategy.lr_per_epoch null too, or a number" in error


def test_a_damaged_choice_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from cl_suite.errors import UserError
    from cl_suite.runs.folder import RunFolder

    folder = RunFolder(tmp_path)
    folder.run_info_file.write_text('{"rate_choice": {"rate": "much"}}')
    with pytest.raises(UserError, match=r"cannot be read .* start afresh with --overwrite"):
        rate_trials.recipe_of(*_recipe_arguments(folder), resume=True)


def _recipe_arguments(folder: Any) -> tuple[Any, ...]:
    config, stream, model = small()
    return config, stream, model, folder, lambda text: None
