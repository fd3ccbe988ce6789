"""CoACT: every oracle of its specification, how often each block runs, and its ablations."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import benchmark
from cl_suite.avalanche.loader import batches
from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.session import EpochRecord
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.adapters import LoRASettings, add_lora, lora_parameters, without_adapters
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.encoder import Encoder
from cl_suite.models.first_token import read_first_token
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.heads.dot import DotHead
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import BatchLayout, StrategyPlugin, Template, session_stats
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.coact import CoACTPlugin, move_average

VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2}
# a rate at which a random network of this size learns instead of diverging
RECIPE = {"base_epochs": 2, "incremental_epochs": 1, "batch_size": 16, "lr": 0.01}


class Recording(CoACTPlugin):
    """Notes of each training step what it adds to the loss, and which tensors get a gradient."""

    def before_training(self, template: Template, **kwargs: Any) -> None:
        super().before_training(template, **kwargs)
        if not hasattr(self, "terms"):
            self.terms: list[Tensor] = []
            self.gradients: list[set[str]] = []

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        before = template.loss.detach().clone()
        super().before_backward(template, **kwargs)
        self.terms.append(template.loss.detach() - before)

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        named = template.model.named_parameters()
        self.gradients.append({n for n, p in named if p.grad is not None})


class Counting(CoACTPlugin):
    """Counts how often each block and the embedding run in a step, prototypes aside."""

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        super().before_training_iteration(template, **kwargs)
        self.counts: Counter[str] = Counter()
        body = template.model.backbone.body
        parts = {"embed": body.patch_embed, **{str(i): b for i, b in enumerate(body.blocks)}}
        self.handles = [
            part.register_forward_hook(lambda *_, name=name: self.counts.update([name]))
            for name, part in parts.items()
        ]

    def after_backward(self, template: Template, **kwargs: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def times(self) -> list[int]:
        """How often the embedding and each block ran in the latest step."""
        return [self.counts[name] for name in ("embed", "0", "1", "2", "3")]


def make_engine(plugin: StrategyPlugin, stream: Stream | None = None, **recipe: Any) -> Engine:
    stream = stream or make_stream()
    seed_everything(0)
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT)
    info = stream.info
    model = build_classifier(config, info.input_shape, info.num_classes, plugin)
    return Engine(stream, model, plugin, TrainingConfig(**{**RECIPE, **recipe}))


def run(engine: Engine, sessions: int = 3) -> Engine:
    for session in range(sessions):
        engine.train_session(session)
    return engine


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, t in module.state_dict().items() if n in before and not t.equal(before[n])}


def wake(body: nn.Module) -> None:
    """Give every adapter an effect."""
    torch.manual_seed(1)
    for parameter in lora_parameters(body).values():
        nn.init.normal_(parameter, std=0.2)


# how often things run


def test_a_base_step_runs_every_block_once_a_view() -> None:
    for block in (None, 2):
        plugin = Counting(adapt_blocks=2, tune_from_block=block, tune_from_epoch=0)
        run(make_engine(plugin), 1)
        assert plugin.times() == [2, 2, 2, 2, 2]


def test_an_incremental_step_runs_the_shared_prefix_exactly_once_a_view() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=None)
    run(make_engine(plugin), 2)
    # student and BASE differ in blocks 2 and 3; both teachers are the pretrained network
    assert plugin.times() == [2, 2, 2, 3, 3]


def test_tuned_blocks_alone_run_once_more_for_the_second_teacher() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=3, tune_from_epoch=0)
    run(make_engine(plugin), 2)
    assert plugin.times() == [2, 2, 2, 3, 4]


def test_where_rows_alone_learn_a_later_step_is_one_pass() -> None:
    plugin = Counting(adapt_blocks=2, tune_from_block=3, incremental_layers="classifier")
    run(make_engine(plugin), 2)
    assert plugin.times() == [1, 1, 1, 1, 1]


def test_snapshots_hold_only_what_was_trained() -> None:
    plugin = CoACTPlugin(lora_rank=2, adapt_blocks=2, tune_from_block=3)
    engine = run(make_engine(plugin), 1)
    body = engine.model.backbone.body
    assert set(plugin.base_["adapters"]) == set(lora_parameters(body))
    assert len(plugin.base_["adapters"]) == 8  # query and value of two blocks, A and B of each
    assert set(plugin.teacher_) == set(plugin.pretrained_)
    assert all(n.startswith(("blocks.3.", "norm.")) for n in plugin.teacher_)


@pytest.mark.parametrize(("way", "steps"), [(10, 2), (44, 7), (5, 1), (20, 4), (1, 1)])
def test_o8_steps_of_a_session_of_ten_shots(way: int, steps: int) -> None:
    stream = make_stream([list(range(way))], base_shots=10)
    data = benchmark(stream).train_stream[0].dataset.train()
    assert len(batches(data, 64, shuffle=True, layout=BatchLayout(views=2))) == steps


# the four networks


def test_o5_a_fresh_student_is_its_teacher() -> None:
    engine = make_engine(CoACTPlugin())
    model, x = engine.model.eval(), torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        student = model.features(x)
        with without_adapters(model.backbone.body):
            assert model.features(x).equal(student)


def test_o5_before_the_first_later_step_the_network_is_consistent_with_base() -> None:
    plugin = Recording(lora_dropout=0.0, contrastive_weight=0.0, adapt_blocks=2)
    run(make_engine(plugin, incremental_epochs=2, incremental_lr=0.1), 2)
    base_steps = 2 * 3
    assert all(term == 0 for term in plugin.terms[:base_steps])
    first, second = plugin.terms[base_steps:]
    # a pass and one that starts from its hidden values may round differently
    assert first.item() == pytest.approx(0, abs=1e-10)
    assert second.item() > 1e-8


def test_o6_an_average_nears_a_constant_by_its_rate() -> None:
    average = {"w": torch.ones(3, dtype=torch.float64)}
    current = {"w": torch.zeros(3, dtype=torch.float64)}
    for step in range(1, 1001):
        move_average(average, current, 0.999)
        if step == 100:
            assert average["w"][0].item() == pytest.approx(0.9047921, abs=1e-7)
    assert average["w"][0].item() == pytest.approx(0.3676954, abs=1e-7)


def test_o6_with_nothing_tuned_the_teacher_is_the_pretrained_network() -> None:
    plugin = CoACTPlugin(tune_from_block=None)
    engine = make_engine(plugin)
    before = state(engine.model.backbone.body)
    run(engine)
    assert plugin.teacher_ == {}
    moved = changed(engine.model.backbone.body, before)
    assert moved
    assert moved <= set(lora_parameters(engine.model.backbone.body))


def test_the_teacher_follows_tuned_tensors_in_the_base_session_alone() -> None:
    plugin = CoACTPlugin(tune_from_block=2, tune_from_epoch=1, ema=0.9)
    engine = make_engine(plugin, incremental_lr=0.1)
    run(engine, 1)
    teacher = {n: t.clone() for n, t in plugin.teacher_.items()}
    pretrained = {n: t.clone() for n, t in plugin.pretrained_.items()}
    student = engine.model.backbone.body.state_dict()
    name = "blocks.2.mlp.fc1.weight"
    assert (teacher[name] - pretrained[name]).norm() < (student[name] - pretrained[name]).norm()
    assert not teacher[name].equal(pretrained[name])
    for session in (1, 2):
        engine.train_session(session)
    assert all(plugin.teacher_[n].equal(t) for n, t in teacher.items())
    assert all(plugin.pretrained_[n].equal(t) for n, t in pretrained.items())


def test_o7_gradients_before_and_after_part_b_begins() -> None:
    plugin = Recording(adapt_blocks=2, tune_from_block=3, tune_from_epoch=1)
    run(make_engine(plugin), 1)
    first, last = plugin.gradients[0], plugin.gradients[-1]
    assert "head.weight" in first
    assert all(".lora_" in name for name in first - {"head.weight"})
    assert all(name.startswith("backbone.body.blocks.") for name in first - {"head.weight"})
    tuned = last - first
    assert all(
        name.startswith(("backbone.body.blocks.3.", "backbone.body.norm.")) for name in tuned
    )
    assert {"backbone.body.blocks.3.mlp.fc1.weight", "backbone.body.norm.weight"} <= tuned
    assert "backbone.body.blocks.3.attn.qkv.k.weight" in tuned


def test_part_b_over_the_whole_network_reaches_the_embedding() -> None:
    plugin = Recording(tune_from_block=-1, tune_from_epoch=0)
    run(make_engine(plugin), 2)
    assert {"backbone.body.cls_token", "backbone.body.patch_embed.proj.weight"} <= set(
        plugin.gradients[0]
    )


def test_part_b_learns_at_its_own_rate() -> None:
    plugin = CoACTPlugin(tune_from_block=3, tune_lr_factor=0.25)
    engine = make_engine(plugin)
    run(engine, 1)
    rates = [group["initial_lr"] for group in engine.template.optimizer.param_groups]
    assert rates == [0.01, 0.0025]
    assert len(engine.template.optimizer.param_groups[1]["params"]) == len(plugin.teacher_)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("pet", {"lora"}), ("classifier", {"head"}), ("both", {"lora", "head"}), ("none", set())],
)
def test_what_learns_in_later_sessions(layers: Any, expected: set[str]) -> None:
    engine = make_engine(
        CoACTPlugin(incremental_layers=layers, tune_from_block=3), incremental_lr=0.1
    )
    run(engine, 1)
    before = state(engine.model)
    engine.train_session(1)
    old_rows = engine.model.head.weight[:4].detach()
    found = {"lora" if ".lora_" in n else n for n in changed(engine.model, before)}
    found -= {"head.weight", "head.class_ids"}
    if not old_rows.equal(before["head.weight"]):
        found.add("head")
    assert found == expected


def test_o9_without_epochs_a_later_session_only_adds_class_means() -> None:
    engine = make_engine(CoACTPlugin(tune_from_block=3), incremental_epochs=0)
    run(engine, 1)
    before = state(engine.model)
    engine.train_session(1)
    backbone = {n: t for n, t in before.items() if n.startswith("backbone.")}
    assert changed(engine.model, backbone) == set()
    assert engine.model.head.rows([0, 2, 5, 7]).equal(before["head.weight"])
    samples = engine.stream.train[1]
    images = torch.stack([engine.stream.info.eval_transform(samples[i][0]) for i in range(6)])
    with torch.no_grad():
        features = engine.model.eval().features(images)
    labels = torch.tensor(samples.targets)
    for class_id in (1, 6):
        mean = features[labels == class_id].mean(0)
        torch.testing.assert_close(engine.model.head.rows([class_id])[0], mean)


def test_consistency_is_asked_of_the_classes_that_base_knows() -> None:
    class Only(CoACTPlugin):
        """Looks at the gradient of the consistency alone."""

        def before_backward(self, template: Template, **kwargs: Any) -> None:
            before = template.loss.clone()
            super().before_backward(template, **kwargs)
            if not self.in_base_session:
                term, rows = template.loss - before, template.model.head.weight
                (self.gradient,) = torch.autograd.grad(term, rows, retain_graph=True)

    plugin = Only(contrastive_weight=0.0, incremental_layers="both")
    engine = run(make_engine(plugin, incremental_lr=0.1, incremental_epochs=3), 2)
    assert engine.model.head.classes == [0, 2, 5, 7, 1, 6]
    assert (plugin.gradient[:4] != 0).any()
    assert (plugin.gradient[4:] == 0).all()


def test_old_rows_do_not_decay_in_later_sessions() -> None:
    engine = make_engine(CoACTPlugin(incremental_layers="both"))
    run(engine, 1)
    (group, *_) = engine.template.optimizer.param_groups
    assert any(p is engine.model.head.weight for p in group["params"])
    assert group["weight_decay"] > 0
    engine.train_session(1)
    holding = [
        group
        for group in engine.template.optimizer.param_groups
        if any(p is engine.model.head.weight for p in group["params"])
    ]
    assert [group["weight_decay"] for group in holding] == [0.0]


def test_copies_compute_what_separate_networks_would() -> None:
    """Both tails of the last step, against whole networks with the same tensors."""
    plugin = CoACTPlugin(adapt_blocks=2, tune_from_block=3, tune_from_epoch=0, ema=0.5)
    engine = run(make_engine(plugin, lr=0.05), 1)
    encoder, x = Encoder(engine.model), torch.rand(5, 1, 16, 16)
    body = engine.model.backbone.body.eval()
    with torch.no_grad():
        _, hidden = encoder.run(x, {}, 2)
        wake(body)
        tail = encoder.tail(hidden, plugin.base_["adapters"], 2)
        with without_adapters(body):
            teacher, hidden = encoder.run(x, plugin.teacher_, 3)
            pretrained = encoder.tail(hidden, plugin.pretrained_, 3)

        def whole(*parts: dict[str, Tensor], adapters: bool) -> Tensor:
            body.load_state_dict({k: v for part in parts for k, v in part.items()}, strict=False)
            if adapters:
                return engine.model.features(x)
            with without_adapters(body):
                return engine.model.features(x)

        torch.testing.assert_close(tail, whole(plugin.base_["adapters"], adapters=True))
        torch.testing.assert_close(teacher, whole(plugin.teacher_, adapters=False))
        torch.testing.assert_close(pretrained, whole(plugin.pretrained_, adapters=False))
    assert not teacher.equal(pretrained)


# ablations


class PlainLoRA(StrategyPlugin):
    """Adapters, class means as first rows, cross-entropy; nothing else."""

    def prepare_model(self, model: nn.Module) -> None:
        assert isinstance(model, Classifier)
        add_lora(model.backbone.body, LoRASettings(16, 16.0, 0.1))
        read_first_token(model.backbone.body)  # the same numbers, but by other kernels

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        stats = session_stats(template)
        template.model.head.set_rows(stats.classes, stats.mean)
        template.model.head.weight.requires_grad_(template.experience.current_experience == 0)


def test_with_every_part_switched_off_it_is_plain_lora() -> None:
    ablated = CoACTPlugin(tune_from_block=None, contrastive_weight=0.0, consistency_weight=0.0)
    found, expected = run(make_engine(ablated)), run(make_engine(PlainLoRA()))
    assert changed(found.model, state(expected.model)) == set()
    start = state(make_engine(PlainLoRA()).model)
    assert changed(expected.model, {k: v for k, v in start.items() if ".lora_" in k})


@pytest.mark.parametrize(
    "part", [{"tune_from_block": 2}, {"contrastive_weight": 1.0}, {"consistency_weight": 1.0}]
)
def test_each_part_changes_the_outcome(part: dict[str, Any]) -> None:
    off: dict[str, Any] = {
        "tune_from_block": None,
        "contrastive_weight": 0.0,
        "consistency_weight": 0.0,
    }
    found = run(
        make_engine(CoACTPlugin(**{**off, **part}), incremental_epochs=2, incremental_lr=0.1)
    )
    other = run(make_engine(CoACTPlugin(**off), incremental_epochs=2, incremental_lr=0.1))
    assert changed(found.model, state(other.model))


def naive_supcon(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The loss of part A, anchor by anchor."""
    total = rows.new_zeros(())
    for anchor in range(len(rows)):
        others = torch.arange(len(rows)) != anchor
        scores = rows[anchor] @ rows.T / temperature
        positives = others & (labels == labels[anchor])
        if positives.any():
            total = total + scores[others].logsumexp(0) - scores[positives].mean()
    return total / len(rows)


class Shadowed(CoACTPlugin):
    """Beside each loss the same terms from separate copies of the whole network."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.gaps: list[float] = []
        self.gradient_gaps: list[float] = []

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        if not hasattr(self, "pre"):
            # adapters start without effect: this is the network before any training
            self.pre = copy.deepcopy(template.model).eval()
            self.teacher = copy.deepcopy(template.model).eval()
        else:
            self.base = copy.deepcopy(template.model).eval()
        super().before_training_exp(template, **kwargs)

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        first = self.tune_from_epoch or 0
        if self.in_base_session and template.clock.train_exp_epochs >= first:
            own = dict(template.model.backbone.body.named_parameters())
            for name, average in self.teacher.backbone.body.named_parameters():
                if "lora_" not in name and name.startswith(("blocks.2", "blocks.3", "norm")):
                    average.data = self.ema * average + (1 - self.ema) * own[name].detach()
        super().before_training_iteration(template, **kwargs)

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        features, before = self._student.features, template.loss.clone()
        super().before_backward(template, **kwargs)
        view, labels = template.mbatch[2], template.mb_y
        networks = [self.teacher] if self.in_base_session else [self.teacher, self.pre]
        with torch.no_grad():
            vectors = [network.features(view) for network in networks]
        rows = torch.cat([nn.functional.normalize(each) for each in (features, *vectors)])
        expected = naive_supcon(rows, labels.repeat(1 + len(networks)), self.temperature)
        if not self.in_base_session:
            known = [0, 2, 5, 7]
            with torch.no_grad():
                targets = self.base(template.mb_x)[:, known]
            expected = expected + (template.mb_output[:, known] - targets).square().mean()
        found = template.loss - before
        self.gaps.append((found - expected).abs().item() / max(1.0, expected.item()))
        gradients = [
            torch.autograd.grad(term, features, retain_graph=True)[0] for term in (found, expected)
        ]
        self.gradient_gaps.append((gradients[0] - gradients[1]).abs().max().item())


def test_losses_and_gradients_are_those_of_separate_networks_and_the_naive_formula() -> None:
    plugin = Shadowed(
        tune_from_block=2, tune_from_epoch=1, ema=0.9, tune_lr_factor=1.0, adapt_blocks=2
    )
    run(make_engine(plugin, incremental_epochs=2), 2)
    assert len(plugin.gaps) == 2 * 3 + 2
    # two ways through the same kernels, and sums in another order
    assert max(plugin.gaps) < 1e-4
    assert max(plugin.gradient_gaps) < 1e-4


def test_views_that_are_the_same_are_warned_of() -> None:
    stream = make_stream()
    plain = stream.with_transforms(stream.info.eval_transform, stream.info.eval_transform)
    with pytest.warns(UserWarning, match="both views of each sample are the same"):
        run(make_engine(CoACTPlugin(), plain), 1)


@pytest.mark.parametrize(("kind", "head"), [("dot", DotHead), ("cosine", CosineHead)])
def test_the_classifier_is_chosen_by_a_parameter(kind: Any, head: type[ClassHead]) -> None:
    engine = run(make_engine(CoACTPlugin(classifier=kind)), 1)
    assert type(engine.model.head) is head


def test_stopping_in_any_epoch_and_going_on_gives_the_same_bits(tmp_path: Path) -> None:
    def make() -> Engine:
        plugin = CoACTPlugin(
            tune_from_block=2, tune_from_epoch=1, incremental_layers="both", adapt_blocks=2, ema=0.9
        )
        return make_engine(plugin, base_epochs=3, incremental_epochs=2)

    engine, saved = make(), []

    def save(record: EpochRecord) -> None:
        path = tmp_path / f"{len(saved)}.safetensors"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, record.session))

    engine.on_epoch = save
    expected = state(run(engine).model)
    for path, session in saved:
        resumed = make()
        torch.rand(5)
        resumed.load_state_dict(checkpoint.load(path))
        for later in range(session, 3):
            resumed.train_session(later)
        assert changed(resumed.model, expected) == set(), path.stem


# what it is given


def test_blocks_that_the_user_froze_stay_as_they_are() -> None:
    stream = make_stream()
    plugin = CoACTPlugin(tune_from_block=-1, tune_from_epoch=0)
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT, trained_blocks=1)
    seed_everything(0)
    model = build_classifier(config, stream.info.input_shape, stream.info.num_classes, plugin)
    before = state(model.backbone.body)
    run(Engine(stream, model, plugin, TrainingConfig(**RECIPE)))
    moved = changed(model.backbone.body, before)
    assert {n.rsplit(".", 1)[0] for n in moved} > {"norm"}
    assert all(n.startswith(("blocks.3.", "norm.")) for n in moved)


def test_a_frozen_backbone_is_refused() -> None:
    config = ModelConfig(backbone="vit_tiny_patch16_224", backbone_args=VIT, frozen=True)
    with pytest.raises(UserError, match="coact tunes the backbone"):
        build_classifier(config, (1, 16, 16), 8, CoACTPlugin())


@pytest.mark.parametrize("value", [{"tune_from_block": -2}, {"tune_from_epoch": -1}])
def test_a_negative_number_of_part_b_is_refused(value: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(value))} must be at least"):
        CoACTPlugin(**value)


def test_a_network_with_fewer_outputs_than_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="class 5 is beyond the 4 outputs"):
        Encoder(nn.Sequential(nn.Linear(3, 4))).set_rows([5], torch.zeros(1, 3))
