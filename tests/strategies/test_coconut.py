"""COCONUT: its loss terms, which networks see which views, and the second modalities."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import make_feature_stream
from helpers.tiny_clip import write_tiny_clip
from helpers.tiny_clip_stream import clip_engine
from helpers.tiny_sounds import write_digits
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.losses.nspt import multimodal_loss, nspt_loss
from cl_suite.models.classifier import build_classifier
from cl_suite.models.features import feature_function
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin, Template, requirements_of
from cl_suite.randomness import seed_everything
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.storage import checkpoint
from cl_suite.strategies.coconut import COCONUTPlugin, default_nspt_weight, projections_of
from cl_suite.strategies.er import ERPlugin

RECIPE = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 8, "lr": 0.01}


def make_engine(
    plugin: StrategyPlugin, stream: Stream | None = None, backbone: str = "conv4", **recipe: Any
) -> Engine:
    stream = stream or make_stream()
    seed_everything(0)
    info = stream.info
    settings = ModelConfig(backbone=backbone, frozen=backbone == "identity")
    model = build_classifier(settings, info.input_shape, info.num_classes, plugin)
    seed_everything(1)  # whatever the strategy has drawn to prepare the network
    return Engine(stream, model, plugin, TrainingConfig(**{**RECIPE, **recipe}))


def run(engine: Engine, sessions: int = 3, start: int = 0) -> Engine:
    for session in range(start, sessions):
        engine.train_session(session)
    return engine


def weights(engine: Engine, prefix: str = "") -> dict[str, Tensor]:
    state = engine.model.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if name.startswith(prefix)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(first[n].equal(second[n]) for n in first)


class Recording(COCONUTPlugin):
    """Notes for each step what is added to the loss, and what the networks are shown."""

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.added: list[Tensor] = []
        self.expected: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.student_passes: list[int] = []
        self.teacher_passes: list[list[int]] = []  # samples in each pass of each step
        self.handles = [template.model.backbone.register_forward_hook(self._student)]
        if (teacher := self.teacher(template)) is not None:
            assert isinstance(teacher.backbone, nn.Module)
            self.handles.append(teacher.backbone.register_forward_hook(self._teacher_saw))

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        self.student_passes.append(0)
        self.teacher_passes.append([])

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        before = template.loss.detach().clone()
        super().before_backward(template, **kwargs)
        self.added.append(template.loss.detach() - before)
        self.labels.append(template.mb_y.clone())

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        for handle in self.handles:
            handle.remove()  # before the network is copied
        super().after_training_exp(template, **kwargs)

    def _student(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.student_passes[-1] += 1

    def _teacher_saw(self, module: nn.Module, inputs: tuple[Tensor], output: Any) -> None:
        self.teacher_passes[-1].append(len(inputs[0]))


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
    plain = run(make_engine(ERPlugin(buffer=12)))
    for prefix in ("backbone.", "head."):
        assert same(weights(ours, prefix), weights(plain, prefix))


@pytest.mark.parametrize("parameters", [{}, {"denominator": "teacher_all"}, {"anchors": "all"}])
def test_the_terms_change_what_is_learned(parameters: dict[str, Any]) -> None:
    ours = run(make_engine(COCONUTPlugin(buffer=12, **parameters)), 2)
    plain = run(make_engine(ERPlugin(buffer=12)), 2)
    assert not same(weights(ours, "backbone."), weights(plain, "backbone."))


# which networks see what


def test_the_teacher_is_shown_rehearsal_samples_alone_in_one_pass_a_step() -> None:
    plugin = Recording(buffer=12)
    run(make_engine(plugin), 2)
    assert plugin.student_passes == [1] * len(plugin.labels)
    old = [int(torch.isin(y, torch.tensor([7, 2, 5, 0])).sum()) for y in plugin.labels]
    assert plugin.teacher_passes == [[n] if n else [] for n in old]
    assert 0 < sum(old) < sum(len(y) for y in plugin.labels)


@pytest.mark.parametrize("parameters", [{"denominator": "teacher_all"}, {"anchors": "all"}])
def test_the_teacher_is_shown_all_samples_where_its_negatives_or_anchors_are_all(
    parameters: dict[str, Any],
) -> None:
    plugin = Recording(buffer=12, **parameters)
    run(make_engine(plugin, batch_size=18), 2)
    assert plugin.teacher_passes == [[18], [18]]


def test_the_teacher_keeps_the_projections_and_weights_of_the_last_session() -> None:
    plugin = COCONUTPlugin(buffer=12)
    engine = run(make_engine(plugin), 1)
    before = weights(engine)
    engine.train_session(1)
    assert not engine.model.coconut.first.weight.equal(before["coconut.first.weight"])
    seen: list[dict[str, Tensor]] = []
    engine.on_epoch = lambda record: seen.append(
        {k: v.clone() for k, v in plugin.teacher(engine.template).state_dict().items()}
    )
    after = weights(engine)
    engine.train_session(2)
    assert same(seen[0], after)
    assert same(seen[1], after)
    teacher = plugin.teacher(engine.template)
    assert teacher is not None
    assert not any(part.training for part in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_projections_and_label_rows_learn_and_grow_with_the_classes() -> None:
    engine = make_engine(COCONUTPlugin(buffer=12, projection_dim=5))
    engine.train_session(0)
    before = weights(engine, "coconut.")
    assert before["coconut.first.weight"].shape == (5, 64)
    assert before["coconut.labels.weight"].shape == (4, 64)
    run(engine, 2, start=1)
    after = weights(engine, "coconut.")
    assert after["coconut.labels.class_ids"].tolist() == [0, 2, 5, 7, 1, 6]
    assert all(not after[n].equal(before[n]) for n in before if n.endswith("weight"))


def test_preparing_twice_changes_nothing() -> None:
    engine = make_engine(plugin := COCONUTPlugin(buffer=12))
    before = weights(engine)
    plugin.prepare_model(engine.model)
    assert same(before, weights(engine))


def test_a_foreign_networks_features_stay_what_its_classifier_sees() -> None:
    body, last = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU()), nn.Linear(16, 8)
    network = nn.Sequential(body, last)
    images = torch.rand(3, 1, 16, 16)
    before = feature_function(network)(images)
    wrapped = Wrapped(network)
    COCONUTPlugin().prepare_model(wrapped)
    assert projections_of(wrapped).first.weight.shape == (256, 16)
    assert feature_function(wrapped)(images).equal(before)


class Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits


def test_a_foreign_networks_projections_are_in_the_optimiser_and_in_the_teacher() -> None:
    seed_everything(0)
    network = Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8)))
    plugin = COCONUTPlugin(buffer=12)
    template = api.SupervisedTemplate(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=1,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    sessions = benchmark(make_stream()).train_stream
    template.train(sessions[0])
    before = {n: p.clone() for n, p in network.coconut.named_parameters()}
    template.train(sessions[1])
    after = dict(network.coconut.named_parameters())
    assert all(not after[n].equal(before[n]) for n in ("first.weight", "second.weight"))
    assert not after["labels.weight"][:4].equal(before["labels.weight"])
    teacher = plugin.teacher(template)
    assert teacher is not None
    assert projections_of(teacher).first.weight.equal(after["first.weight"])


# second modalities


def test_a_second_view_passes_the_student_too() -> None:
    plugin = Recording(buffer=12, modality="view")
    run(make_engine(plugin), 1)
    assert requirements_of(plugin).batch.views == 2
    assert plugin.student_passes == [2] * len(plugin.added)
    assert torch.stack(plugin.added).min() > 0


def test_equal_views_are_warned_of() -> None:
    info = (random := make_stream()).info
    still = build_stream(
        name="still",
        class_names=info.class_names,
        session_classes=info.session_classes,
        train=random.train,
        test=random.test,
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
        shots=3,
    )
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        run(make_engine(COCONUTPlugin(buffer=12, modality="view"), still), 1)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def test_texts_are_the_towers_embeddings_of_the_names_and_give_it_no_gradient(
    clip_folder: Path,
) -> None:
    plugin = COCONUTPlugin(buffer=12, modality="text", template="a {}.")
    engine = clip_engine(clip_folder, plugin)
    names = engine.stream.info.class_names
    body = engine.model.backbone.body
    expected = body.embed_names([names[c] for c in (0, 2, 5, 7)], "a {}.")
    tower = {n: p.clone() for n, p in body.named_parameters() if "text" in n}
    engine.train_session(0)
    torch.testing.assert_close(torch.stack([plugin.texts_[c] for c in (0, 2, 5, 7)]), expected)
    # nothing but weight decay acts on it, if that
    assert all(p.grad is None for n, p in body.named_parameters() if n in tower)
    engine.train_session(1)
    assert sorted(plugin.texts_) == [0, 1, 2, 5, 6, 7]


def test_text_without_a_text_tower_is_refused() -> None:
    with pytest.raises(UserError, match="strategy 'coconut' needs a CLIP backbone"):
        make_engine(COCONUTPlugin(buffer=12, modality="text"))


def resumes(make: Any, tmp_path: Path) -> None:
    engine, saved = make(), []

    def save(record: EpochRecord) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, record.session))

    engine.on_epoch = save
    expected = weights(run(engine))
    assert len(saved) == 6
    for path, session in saved[1:4]:
        resumed = make()
        torch.rand(7)
        resumed.load_state_dict(checkpoint.load(path))
        assert same(weights(run(resumed, start=session)), expected), path.stem


def test_views_go_on_after_a_stop_to_the_bit(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"modality": "view", "denominator": "teacher_all"}
    resumes(lambda: make_engine(COCONUTPlugin(buffer=12, **parameters)), tmp_path)


def test_texts_go_on_after_a_stop_to_the_bit(clip_folder: Path, tmp_path: Path) -> None:
    recipe = {"base_epochs": 2, "incremental_epochs": 2, "lr": 0.01}
    resumes(
        lambda: clip_engine(clip_folder, COCONUTPlugin(buffer=12, modality="text"), **recipe),
        tmp_path,
    )


# streams


def test_on_a_frozen_backbone_predictions_are_those_of_plain_rehearsal_with_a_warning() -> None:
    stream = make_feature_stream()
    with pytest.warns(UserWarning, match="predictions are those of er"):
        ours = run(make_engine(COCONUTPlugin(buffer=40, modality="none"), stream, "identity"), 2)
    plain = run(make_engine(ERPlugin(buffer=40), stream, "identity"), 2)
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
