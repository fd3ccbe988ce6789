"""CLER: the pretext branch by itself, and around hosts of every kind."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor, nn
from torchvision.io import write_png

from cl_suite import registry
from cl_suite.avalanche import api, benchmark
from cl_suite.data.samples import FileSamples
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.host import make_host
from cl_suite.methods.pretext.branch import untracked
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.modes import batchnorms
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import BatchLayout, Requirements, StrategyPlugin, requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.runs.config import resolve
from cl_suite.runs.early import check_pair
from cl_suite.storage import checkpoint
from cl_suite.strategies.cler import CLERPlugin
from cl_suite.strategies.finetune import FinetunePlugin

# a memory of its own, one within the batch, Avalanche's with and without a memory, and none
HOSTS: list[tuple[str, dict[str, Any]]] = [
    ("er_ace", {"buffer": 20}),
    ("der", {"buffer": 20}),
    ("finetune", {}),
    ("joint", {}),
    ("replay", {"mem_size": 12}),
    ("ewc", {}),
    ("lwf", {}),
    ("teen", {}),
]
every_host = pytest.mark.parametrize(("host", "params"), HOSTS, ids=[name for name, _ in HOSTS])


def engine_with(plugin: Any, stream: Stream | None = None, **settings: Any) -> Engine:
    seed_everything(0)
    stream = stream or make_stream()
    model = build_classifier(
        ModelConfig(head="cosine", **settings), stream.info.input_shape, 8, plugin
    )
    recipe = TrainingConfig(
        base_epochs=2, incremental_epochs=2, batch_size=16, lr=0.02, incremental_batchnorm="train"
    )
    return Engine(stream, model, plugin, recipe)


def train(engine: Engine, start: int = 0) -> Engine:
    for session in range(start, 3):
        engine.train_session(session)
    return engine


def ready_model(plugin: CLERPlugin, **settings: Any) -> Classifier:
    seed_everything(0)
    model = build_classifier(ModelConfig(head="linear", **settings), (1, 16, 16), 4, plugin)
    model.head.grow(range(4))
    return model.train()


def differences(model: nn.Module, expected: dict[str, Tensor]) -> list[str]:
    found = model.state_dict()
    return [name for name, value in expected.items() if not found[name].equal(value)]


# --- the branch ---


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"pretext": "jigsaw"}, 3.178054),
        ({"pretext": "rotation"}, 1.386294),
        ({"pretext": "jigsaw", "patches": 9}, math.log(100)),
        ({"pretext": "jig_rot"}, (math.log(23) + math.log(4)) / 2),
        ({"pretext": "rotation", "branch": "features"}, 1.386294),
    ],
)
def test_untrained_heads_of_zero_weight_lose_the_logarithm_of_the_number_of_labels(
    parameters: dict[str, Any], expected: float
) -> None:
    plugin = CLERPlugin(host="finetune", **parameters)
    model = ready_model(plugin)
    for head in model.pretext.heads:  # type: ignore[union-attr]
        nn.init.zeros_(head.weight)  # type: ignore[arg-type]
    loss = plugin.pretext_loss(model, torch.rand(5, 1, 16, 16))
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("backbone", ["conv4", "resnet20", "resnet18", "vit_tiny_patch16_224"])
def test_the_gradient_reaches_the_shared_blocks_neither_the_last_one_nor_the_head(
    backbone: str,
) -> None:
    plugin = CLERPlugin(host="finetune")
    stream = make_stream(size=32)
    model = build_classifier(ModelConfig(backbone=backbone, head="linear"), (1, 32, 32), 4, plugin)
    model.head.grow(range(4))
    last = {"conv4": "3", "resnet20": "11", "resnet18": "layer4.1"}.get(backbone, "blocks.11")
    before = {"conv4": "2", "resnet20": "10", "resnet18": "layer4.0"}.get(backbone, "blocks.10")
    images = stream.info.eval_transform(stream.train[0].inputs[:6])  # type: ignore[attr-defined]
    plugin.pretext_loss(model.train(), images).backward()

    def gradients(of: nn.Module) -> list[Tensor | None]:
        return [parameter.grad for parameter in of.parameters()]

    body = model.backbone.body
    assert all(g is None for g in gradients(body.get_submodule(last)))
    assert all(g is None for g in gradients(model.head))
    assert any(g is not None and g.any() for g in gradients(body.get_submodule(before)))
    assert all(g is not None for g in gradients(model.pretext))  # type: ignore[arg-type]


def test_only_the_private_part_averages_what_the_pretext_pass_shows_it() -> None:
    plugin = CLERPlugin(host="finetune")
    model = ready_model(plugin)
    before = {name: value.clone() for name, value in model.named_buffers()}
    images = torch.rand(6, 1, 16, 16)
    plugin.pretext_loss(model, images)
    moved = {name for name, value in model.named_buffers() if not value.equal(before[name])}
    assert moved == {
        f"pretext.body.3.1.{name}"
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    model.features(images)
    after = dict(model.named_buffers())
    assert not after["backbone.body.0.1.running_mean"].equal(
        before["backbone.body.0.1.running_mean"]
    )


def test_in_the_pretext_pass_images_are_normalised_by_their_own_statistics() -> None:
    model = ready_model(CLERPlugin(host="finetune"))
    images = torch.rand(6, 1, 16, 16)
    own = model.features(images)
    with untracked(model.backbone):
        torch.testing.assert_close(model.features(images), own)
    assert all(layer.track_running_stats for layer in batchnorms(model))


def test_the_private_part_starts_as_the_last_block_and_shares_no_tensor_with_it() -> None:
    model = ready_model(CLERPlugin(host="finetune", private_blocks=2))
    own, last = dict(model.pretext.named_parameters()), dict(model.backbone.named_parameters())  # type: ignore[operator]
    copied = {name for name in own if name.startswith("body.")}
    assert {name.split(".")[1] for name in copied} == {"2", "3"}
    for name in copied:
        assert own[name].equal(last[name])
        assert own[name] is not last[name]


def test_predictions_do_not_depend_on_the_branch() -> None:
    model = ready_model(CLERPlugin(host="finetune")).eval()
    images = torch.rand(3, 1, 16, 16)
    before = model(images)
    for parameter in model.pretext.parameters():  # type: ignore[union-attr]
        nn.init.constant_(parameter, math.nan)
    assert model(images).equal(before)


def test_preparing_twice_changes_nothing() -> None:
    plugin = CLERPlugin(host="finetune")
    model = ready_model(plugin)
    before = copy.deepcopy(model.state_dict())
    random, own = torch.get_rng_state(), plugin.random_
    plugin.prepare_model(model)
    assert list(model.state_dict()) == list(before)
    assert differences(model, before) == []
    assert plugin.random_ is own
    assert torch.get_rng_state().equal(random)


# --- around a host ---


@every_host
def test_with_weight_0_a_run_is_the_hosts_to_the_last_bit(
    host: str, params: dict[str, Any]
) -> None:
    # an engine does not look at the stream: a run does, before it is made
    plugin = CLERPlugin(host=host, host_params=params, weight=0.0)
    random = torch.get_rng_state()
    plugin.check_stream(make_stream().info, [48, 6, 6])
    assert torch.get_rng_state().equal(random)
    alone = train(engine_with(make_host(host, params)))
    expected = {name: value.clone() for name, value in alone.model.state_dict().items()}
    random = torch.get_rng_state()
    wrapped = train(engine_with(plugin))
    assert differences(wrapped.model, expected) == []
    assert torch.get_rng_state().equal(random)
    assert wrapped.evaluate(2).equal(alone.evaluate(2))
    assert wrapped.kept_data() == alone.kept_data()
    weighted = train(engine_with(CLERPlugin(host=host, host_params=params, weight=1.0)))
    assert "backbone.body.0.0.weight" in differences(weighted.model, expected)


@pytest.mark.parametrize(("host", "params"), HOSTS[:6], ids=[name for name, _ in HOSTS[:6]])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    host: str, params: dict[str, Any], tmp_path: Path
) -> None:
    def make() -> Engine:
        return engine_with(CLERPlugin(host=host, host_params=params, pretext="rotation"))

    engine, saved = make(), []

    def save(next_session: int) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, next_session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected = copy.deepcopy(engine.model.state_dict())
    for path, session in (saved[0], saved[4], saved[5]):  # within sessions and between them
        resumed = make()
        torch.rand(7)
        resumed.load_state_dict(checkpoint.load(path))
        train(resumed, session)
        assert differences(resumed.model, expected) == [], path.stem
        assert resumed.kept_data() == engine.kept_data()


class Listening:
    """A plugin with every callback, which notes that it was called; no plugin of the suite."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("before_", "after_")):
            raise AttributeError(name)
        return lambda template, **kwargs: self.calls.append(name)


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_every_callback_is_handed_on_once_and_in_order() -> None:
    def calls(plugin: Any, host: Listening) -> list[str]:
        seed_everything(0)
        stream = make_stream()
        model = build_classifier(ModelConfig(), (1, 16, 16), 8)
        model.head.grow(range(8))
        template = api.SupervisedTemplate(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=16,
            plugins=[plugin],
            evaluator=api.silent_evaluator(),
        )
        template.train(benchmark(stream).train_stream[0])
        template.eval(benchmark(stream).test_stream[:1])
        return host.calls

    first, second = Listening(), Listening()
    expected = calls(first, first)
    assert len(set(expected)) == 26
    assert calls(CLERPlugin(host=second), second) == expected


class Looking(CLERPlugin):
    """Notes the images that the pretext loss is made of, by session."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.images: list[list[Tensor]] = []

    def before_training_exp(self, template: Any, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.images.append([])

    def pretext_loss(self, model: Any, images: Tensor, precision: Any = None) -> Tensor:
        self.images[-1].append(images.clone())
        return super().pretext_loss(model, images, precision)


def plain_images(stream: Stream, sessions: Sequence[int]) -> set[bytes]:
    parts = [stream.info.eval_transform(stream.train[s].inputs) for s in sessions]  # type: ignore[attr-defined]
    return {image.numpy().tobytes() for part in parts for image in part}


def looked_at(batches: list[Tensor]) -> set[bytes]:
    return {image.numpy().tobytes() for batch in batches for image in batch}


def test_the_pretext_task_sees_the_streams_images_without_augmentation() -> None:
    plugin = Looking(host="finetune")
    engine = train(engine_with(plugin))
    for session in range(3):
        assert looked_at(plugin.images[session]) == plain_images(engine.stream, [session])


def test_samples_that_a_host_puts_into_the_batch_are_among_them() -> None:
    plugin = Looking(host="joint")
    engine = train(engine_with(plugin))
    for session in range(3):
        seen = looked_at(plugin.images[session])
        assert seen == plain_images(engine.stream, range(session + 1))


def test_images_in_files_are_seen_without_augmentation_too(tmp_path: Path) -> None:
    def files(samples: Any, name: str) -> FileSamples:
        paths = [tmp_path / f"{name}{row}.png" for row in range(len(samples))]
        for path, image in zip(paths, samples.inputs, strict=True):
            write_png(image.expand(3, -1, -1).contiguous(), str(path))
        return FileSamples(paths, samples.targets, tmp_path)

    tensors = make_stream()
    sets = [
        [files(samples, f"{part}{i}-") for i, samples in enumerate(each)]
        for part, each in (("train", tensors.train), ("test", tensors.test))
    ]
    info = dataclasses.replace(tensors.info, input_shape=(3, 16, 16))
    plugin = Looking(host="er_ace", host_params={"buffer": 40, "replay_batch": 5})
    engine = train(engine_with(plugin, Stream(info, tuple(sets[0]), tuple(sets[1]))))
    transform = info.eval_transform
    for session in range(3):
        stream = {transform(image).numpy().tobytes() for image, _ in engine.stream.train[session]}  # type: ignore[attr-defined]
        batch = min(len(engine.stream.train[session]), 16)
        assert looked_at([images[:batch] for images in plugin.images[session]]) == stream


@pytest.mark.parametrize(("host", "draws"), [("er_ace", 1), ("der", 2)])
def test_samples_that_a_host_draws_by_itself_are_among_them(host: str, draws: int) -> None:
    plugin = Looking(host=host, host_params={"buffer": 40, "replay_batch": 5})
    engine = train(engine_with(plugin))
    [first, second] = plugin.images[1]  # two epochs of six samples
    assert len(first) == len(second) == 6 + 5 * draws
    assert looked_at([first[:6]]) == plain_images(engine.stream, [1])
    assert looked_at([first[6:]]) <= plain_images(engine.stream, [0, 1])
    assert looked_at([first[6:]]) & plain_images(engine.stream, [0])


def test_of_a_loader_of_the_hosts_own_making_it_sees_the_augmented_images() -> None:
    plugin = Looking(host="replay", host_params={"mem_size": 12})
    engine = train(engine_with(plugin))
    assert looked_at(plugin.images[0]) == plain_images(engine.stream, [0])
    assert not looked_at(plugin.images[1]) & plain_images(engine.stream, [0, 1])
    assert len(plugin.images[1][0]) == 6 + 12  # the session and what is replayed


def test_it_is_to_the_engine_what_its_host_is() -> None:
    wrapped = CLERPlugin(host="teen")
    host = wrapped.hosted
    of_host = requirements_of(host)
    assert of_host.rewrites_rows
    assert dataclasses.replace(requirements_of(wrapped), batch=of_host.batch) == of_host
    around_memory = requirements_of(CLERPlugin(host="er_ace"))
    assert around_memory.carries_base_state
    assert around_memory.batch == BatchLayout(plain=True, rows=True)
    around_avalanches = requirements_of(CLERPlugin(host="replay"))
    assert around_avalanches == Requirements(batch=BatchLayout(plain=True))
    assert type(CLERPlugin(host="coact").make_head(8, 3, 16.0)).__name__ == "CosineHead"


@pytest.mark.filterwarnings("ignore:No loggers specified")
def test_it_wraps_avalanches_replay_in_a_bare_program() -> None:
    from avalanche.training.plugins import ReplayPlugin

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
            self.classifier = nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.body(x))

    seed_everything(0)
    stream, model = make_stream(), Network()
    plugin = CLERPlugin(host=ReplayPlugin(mem_size=10), pretext="rotation")
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    for experience in benchmark(stream).train_stream:
        template.train(experience)
    assert len(plugin.hosted.storage_policy.buffer) == 10
    start = {name: value.clone() for name, value in model.pretext.named_parameters()}  # type: ignore[union-attr, operator]
    template.train(benchmark(stream).train_stream[2])
    assert differences(model.pretext, start)  # type: ignore[arg-type]


def test_the_pretext_task_is_learned() -> None:
    plugin = CLERPlugin(host="finetune", pretext="rotation")
    engine = engine_with(plugin)
    images = engine.stream.info.eval_transform(engine.stream.train[0].inputs)  # type: ignore[attr-defined]
    optimizer = torch.optim.SGD(engine.model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        plugin.pretext_loss(engine.model.train(), images).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(plugin.pretext_loss(engine.model, images)) < 0.5 * math.log(4)


def test_bfloat16_reaches_the_pretext_pass() -> None:
    kinds: list[torch.dtype] = []
    engine = engine_with(CLERPlugin(host="finetune"))
    engine.context.training = TrainingConfig(
        base_epochs=1, batch_size=16, lr=0.02, precision="bfloat16"
    )
    layer: nn.Module = engine.model.pretext.body[3][0]  # type: ignore[index, union-attr, assignment]
    layer.register_forward_hook(lambda *call: kinds.append(call[2].dtype))
    engine.train_session(0)
    assert set(kinds) == {torch.bfloat16}


# --- refusals ---


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


def test_a_backbone_that_is_not_cut_can_be_taught_from_its_features() -> None:
    plugin = CLERPlugin(host="finetune", branch="features")
    config = ModelConfig(backbone="convnext_atto")
    model = build_classifier(config, (1, 32, 32), 4, plugin)
    plugin.pretext_loss(model, torch.rand(2, 1, 32, 32)).backward()
    assert any(p.grad is not None for p in model.backbone.parameters())


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


def test_the_command_line_names_the_host_and_its_parameters() -> None:
    pair = registry.get("scenario", "omniglot"), registry.get("strategy", "cler")
    options = ["--strategy.host", "replay", "--strategy.host_params", "{mem_size: 5}"]
    [config], _ = resolve(*pair, [*options, "--device", "cpu"])
    check_pair(config)
    assert config.strategy.hosted.mem_size == 5
    assert "mem_size: 5" in config.text
