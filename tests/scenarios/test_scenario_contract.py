"""The contract of every registered scenario; a new one needs a line in `SMALL`."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_suite import registry
from cl_suite.avalanche import benchmark
from cl_suite.data.samples import UNLABELLED, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.runs.config import build_parser, resolve

HERE = __name__
# parameters that make each scenario small; a name in braces is a fixture that gives a folder
SMALL: dict[str, dict[str, Any]] = {
    "omniglot": {},
    "mini_imagenet": {"root": "{mini_root}"},
    "cifar100": {"root": "{fake_cifar}"},
    "cub200": {"root": "{cub_root}", "image_size": 8},
    "image_folder": {"root": "{picture_folder}", "base_classes": 3, "way": 2, "image_size": 16},
    "class_incremental": {"way": 60},
    "data_incremental": {"num_sessions": 3, "unlabelled_fraction": 0.4},
    "domain_incremental": {"shifts": ["none", "noise", "rotate90"]},
    "problem_sequence": {"plus_items": 40, "minus_items": 40, "test_items": 20},
    "fscit": {"dataset": "omniglot", "base_classes": 26, "way": 24, "image_size": 8},
    "cfsl_pretraining": {},
    "cfsl": {"way": 2},
    "cfsl_wide_a": {"way": 4},
    "cfsl_wide_b": {"way": 4},
    "cfsl_long_a": {"way": 2},
    "cfsl_long_b": {"way": 2, "support_sets": 8},
    "instance_test": {"corruption": "noise"},
    "spoken_digits": {"root": "{spoken_root}", "shots": 4, "seconds": 0.2},
    "spoken_words": {
        "root": "{words_root}",
        "base_classes": 2,
        "way": 1,
        "shots": 4,
        "seconds": 0.2,
    },
    "avalanche": {"factory": f"{HERE}:tiny_benchmark".replace(":", ".")},
}
SMALL |= {
    f"fscit_{dataset}": {
        "dataset": dataset,
        "root": root,
        "base_classes": base_classes,
        "way": way,
        "shots": 2,
        "image_size": 8,
    }
    for root, base_classes, way, datasets in (
        ("{mini_root}", 10, 10, ["mini_imagenet"]),
        ("{fake_cifar}", 10, 10, ["cifar100"]),
        ("{cub_root}", 20, 20, ["cub200"]),
        ("{image_sets_root}", 2, 1, ["caltech101", "country211", "dtd", "eurosat"]),
        ("{image_sets_root}", 2, 1, ["fgvc_aircraft", "food101", "oxford_pets", "resisc45"]),
        ("{image_sets_root}", 2, 1, ["stanford_cars", "sun397"]),
        ("{image_sets_root}", 7, 12, ["gtsrb", "oxford_flowers", "voc2007"]),
    )
    for dataset in datasets
}
SCENARIOS = sorted(registry.entries("scenario"))
every_scenario = pytest.mark.parametrize("name", SCENARIOS)
# one name of each class: the data sets of one benchmark share a constructor
CLASSES = {entry.class_path: name for name, entry in registry.entries("scenario").items()}
every_class = pytest.mark.parametrize("name", sorted(CLASSES.values()))


def tiny_benchmark() -> Any:
    from helpers.tiny_streams import make_stream

    first, *later = ([7, 2, 5, 0], [6, 1], [3, 4])
    if torch.rand(()) < 0.5:  # many factories draw the order of classes, unasked
        later.reverse()
    return benchmark(make_stream([first, *later]))


def required(name: str) -> dict[str, Any]:
    """Return what a scenario's YAML file gives to parameters without a default."""
    entry = registry.get("scenario", name)
    signature = inspect.signature(entry.load()).parameters
    params = entry.settings.get("params") or {}
    return {k: v for k, v in params.items() if signature[k].default is inspect.Parameter.empty}


@pytest.fixture
def parameters(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    assert name in SMALL, f"add parameters for a small '{name}' to SMALL"
    found = required(name) | SMALL[name]
    if str(root := found.get("root", "")).startswith("{"):
        folder = request.getfixturevalue(root[1:-1])
        found["root"] = str(folder.root if isinstance(folder, SimpleNamespace) else folder)
    return found


def build(name: str, parameters: dict[str, Any]) -> Stream:
    stream: Stream = registry.get("scenario", name).load()(**parameters).build()
    return stream


NOWHERE = {"root": "nowhere", "factory": "no.such", "dataset": "dtd", "base_classes": 9, "way": 9}


def made_without_looking(name: str) -> tuple[type, dict[str, Any]]:
    """Return a scenario's class and a value for each parameter; its data lies nowhere."""
    cls = registry.get("scenario", name).load()
    found = inspect.signature(cls).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in found)
    values = {p.name: NOWHERE.get(p.name, p.default) for p in found}
    return cls, values | required(name)


@every_class
def test_the_constructor_stores_its_parameters_and_does_no_more(name: str) -> None:
    cls, given = made_without_looking(name)
    assert vars(cls(**given)) == given


@every_class
def test_a_value_that_is_none_at_all_is_refused_when_the_object_is_made(name: str) -> None:
    cls, given = made_without_looking(name)
    for parameter in given.keys() - {"arguments"}:  # any mapping, for a foreign function
        with pytest.raises(ValueError, match=f"^{parameter} must be "):
            cls(**{**given, parameter: object()})


@every_class
def test_an_unknown_parameter_is_refused_with_a_suggestion(name: str) -> None:
    pair = registry.get("scenario", name), registry.get("strategy", "finetune")
    known = [k for k, _ in build_parser(*pair).get_defaults().items() if k.startswith("scenario.")]
    with pytest.raises(UserError, match=rf"--{known[0]}x is unknown; did you mean '"):
        resolve(*pair, [f"--{known[0]}x", "1"])


@every_scenario
def test_equal_parameters_give_equal_streams(name: str, parameters: dict[str, Any]) -> None:
    torch.manual_seed(1)
    first = build(name, parameters)
    torch.manual_seed(2)
    second = build(name, parameters)
    assert first.info.fingerprint == second.info.fingerprint
    assert first.info.session_classes == second.info.session_classes


@every_scenario
def test_building_draws_no_global_random_number(name: str, parameters: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    build(name, parameters)
    assert torch.get_rng_state().equal(before)


@every_scenario
def test_classes_come_once_and_samples_belong_to_their_session(
    name: str, parameters: dict[str, Any]
) -> None:
    stream = build(name, parameters)
    arrived = [c for classes in stream.info.session_classes for c in classes]
    if stream.info.kind == "class":
        assert len(set(arrived)) == len(arrived)
    elif stream.info.kind != "mixed":
        assert len({frozenset(classes) for classes in stream.info.session_classes}) == 1
    for classes, train, test in zip(
        stream.info.session_classes, stream.train, stream.test, strict=True
    ):
        assert set(train.targets) - {UNLABELLED} == set(classes) == set(test.targets)
        assert all(type(target) is int for target in train.targets)
        assert [train[i][1] for i in (0, len(train) - 1)] == [train.targets[0], train.targets[-1]]


@every_scenario
def test_later_sessions_have_the_shots_announced(name: str, parameters: dict[str, Any]) -> None:
    stream = build(name, parameters)
    if stream.info.shots is not None:
        for classes, train in zip(stream.info.session_classes[1:], stream.train[1:], strict=True):
            assert all(train.targets.count(c) == stream.info.shots for c in classes)


@every_scenario
def test_a_session_holds_no_memory_of_another(name: str, parameters: dict[str, Any]) -> None:
    stream = build(name, parameters)
    for samples in (*stream.train, *stream.test):
        if isinstance(samples, TensorSamples):
            assert samples.inputs.untyped_storage().nbytes() == samples.num_bytes()


@every_scenario
def test_the_transforms_give_the_announced_shape(name: str, parameters: dict[str, Any]) -> None:
    stream = build(name, parameters)
    raw = stream.train[0][0][0]
    assert stream.info.eval_transform(raw).shape == stream.info.input_shape
    assert stream.info.train_transform(raw).shape == stream.info.input_shape
    assert stream.info.eval_transform(raw).equal(stream.info.eval_transform(raw))
    assert stream.info.preprocessing == build(name, parameters).info.preprocessing


@every_scenario
def test_the_benchmark_is_avalanches_with_a_classes_timeline(
    name: str, parameters: dict[str, Any]
) -> None:
    stream = build(name, parameters)
    for experience, classes in zip(
        benchmark(stream).train_stream, stream.info.session_classes, strict=True
    ):
        assert experience.classes_in_this_experience - {UNLABELLED} == set(classes)
    inputs, label = benchmark(stream).test_stream[0].dataset.eval()[0]
    assert inputs.shape == stream.info.input_shape
    assert label in stream.info.session_classes[0]
