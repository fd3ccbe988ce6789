"""CLER: the hosts, backbones, inputs and values that it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from helpers.tiny_streams import make_stream

from cl_suite import registry
from cl_suite.errors import UserError
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import Requirements, StrategyPlugin
from cl_suite.runs.config import resolve
from cl_suite.strategies.cler import CLERPlugin
from cl_suite.strategies.finetune import FinetunePlugin


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"host": "er_acee"}, "host 'er_acee' is unknown; did you mean 'er_ace'"),
        (
            {"host": "replay", "host_params": {"mem_sizes": 5}},
            "host_params.mem_sizes of host 'replay' is unknown; did you mean 'mem_size'",
        ),
        (
            {"host": "der", "host_params": {"alpha": -1.0}},
            "^host_params.alpha must be at least 0, got -1",
        ),
        (
            {"host": "replay", "host_params": {"mem_size": 0}},
            "^host_params.mem_size must be at least 1, got 0",
        ),
        ({"host": "cler"}, "host 'cler' is a wrapper itself"),
        ({"host": CLERPlugin()}, "host 'CLERPlugin' is a wrapper itself"),
        ({"host": "clip_lora"}, "host 'clip_lora' reads text"),
        ({"host": FinetunePlugin(), "host_params": {"x": 1}}, "pass them to FinetunePlugin itself"),
    ],
)
def test_hosts_that_cannot_be_one_are_refused_in_a_sentence(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        CLERPlugin(**parameters)


def test_a_host_without_a_classifier_is_refused() -> None:
    class Features(StrategyPlugin):
        requirements = Requirements(classifier=False)

    with pytest.raises(UserError, match="host 'Features' learns no classifier"):
        CLERPlugin(host=Features())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "identity"}, "nothing of it is trained; pass model.frozen=False"),
        ({"backbone": "resnet20", "frozen": True}, "nothing of it is trained"),
        ({"backbone": "convnext_atto"}, "has 1 blocks.*pass branch='features'"),
        ({"backbone": "conv4", "trained_blocks": 1}, "nothing below the last 1 blocks"),
    ],
)
def test_backbones_that_the_task_cannot_teach_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_classifier(ModelConfig(**settings), (1, 32, 32), 4, CLERPlugin(host="finetune"))


@pytest.mark.parametrize(
    ("shape", "parameters", "message"),
    [
        ((64,), {}, r"inputs have shape \(64,\)"),
        ((1, 16000), {}, r"inputs have shape \(1, 16000\)"),
        ((1, 40, 60), {}, "jigsaw' needs square images, and these are 40 x 60"),
        ((1, 40, 60), {"pretext": "jig_rot"}, "jig_rot' needs square images"),
        ((1, 40, 60), {"pretext": "time_jigsaw"}, None),
        ((1, 40, 60), {"pretext": "vflip"}, None),
        ((1, 2, 2), {"patches": 9}, "2 x 2 cannot be cut into patches=9"),
    ],
)
def test_inputs_that_the_task_is_not_for_are_refused(
    shape: tuple[int, ...], parameters: dict[str, Any], message: str | None
) -> None:
    info = dataclasses.replace(make_stream().info, input_shape=shape)
    plugin = CLERPlugin(host="finetune", **parameters)
    if message is None:
        plugin.check_stream(info, [48, 6, 6])
        return
    with pytest.raises(UserError, match=message):
        plugin.check_stream(info, [48, 6, 6])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UserError, match=r"^weight must be at least 0, got -1"):
        CLERPlugin(weight=-1.0)


@pytest.mark.parametrize("value", ["{mem_size: 0}", "{mem_sizes: 5}"])
def test_a_bad_parameter_of_the_host_is_refused_on_the_command_line(value: str) -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "cler")
    options = ["--strategy.host", "replay", "--strategy.host_params", value]
    with pytest.raises(UserError, match=r"^--strategy\.host_params\.mem_sizes? "):
        resolve(*pair, options)
