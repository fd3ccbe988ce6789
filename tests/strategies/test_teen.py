"""TEEN: every oracle of its specification (O1 to O8), and the plugin in a stream."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.prototype import PrototypePlugin
from cl_suite.strategies.teen import TEENPlugin, calibrate

BASE = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
NEW = torch.tensor([[3.0, 4.0]], dtype=torch.float64)


def row(tau: float, shift: float, normalize: bool = True) -> list[float]:
    calibrated = calibrate(NEW, BASE, softmax_t=tau, shift_weight=shift, normalize_delta=normalize)
    return calibrated[0].tolist()


def close(*values: float) -> object:
    return pytest.approx(values, abs=5e-8)  # the oracles have seven digits


def test_o1_calibrated_row_worked_by_hand() -> None:
    assert row(16, 0.5) == close(0.3203642, 0.8995851)
    assert torch.tensor(row(16, 0.5)).norm().item() == pytest.approx(0.9549275, abs=1e-7)


def test_o1_row_without_normalising_delta() -> None:
    assert row(16, 0.5, normalize=False) == close(0.3195829, 0.8804171)


def test_o1_weights_and_delta() -> None:
    # shift 1 leaves delta alone; unnormalised it equals the weights, for the bases are e1 and e2
    assert row(16, 1.0, normalize=False) == close(0.0391657, 0.9608343)
    assert row(16, 1.0) == close(0.0407284, 0.9991703)


def test_o2_shift_weights() -> None:
    assert row(16, 0.1) == close(0.5440728, 0.8199170)
    assert row(16, 0.0) == pytest.approx((0.6, 0.8), abs=1e-15)


def test_o3_flat_softmax() -> None:
    assert row(1, 1.0, normalize=False) == close(0.4501660, 0.5498340)
    assert row(1, 0.5) == close(0.6167461, 0.7868745)
    assert row(1, 0.5, normalize=False) == close(0.5250830, 0.6749170)


def test_o4_cosines_of_a_query_before_and_after() -> None:
    head = CosineHead(2, temperature=1.0).double()
    head.set_rows([0, 1, 2], torch.cat([BASE, NEW]))
    query = torch.tensor([[5.0, 12.0]], dtype=torch.float64)
    assert head(query)[0].tolist() == close(0.3846154, 0.9230769, 0.9692308)
    head.set_rows([2], torch.tensor([row(16, 0.5)], dtype=torch.float64))
    assert head(query)[0].tolist() == close(0.3846154, 0.9230769, 0.9986132)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 1.0])
def test_o5_a_prototype_equidistant_from_all_bases_keeps_its_direction(shift: float) -> None:
    base, new = torch.eye(3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    found = calibrate(new, base, softmax_t=16, shift_weight=shift, normalize_delta=True)
    torch.testing.assert_close(found, new / 3**0.5)


def test_o6_scaling_prototypes_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    new = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    scale = torch.rand(5, 1, generator=generator, dtype=torch.float64) + 0.1
    settings = {"softmax_t": 16.0, "shift_weight": 0.5, "normalize_delta": True}
    torch.testing.assert_close(
        calibrate(new, base, **settings), calibrate(4.2 * new, base * scale, **settings)
    )


def test_o6_permuting_base_classes_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    new = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    settings = {"softmax_t": 16.0, "shift_weight": 0.5, "normalize_delta": True}
    shuffled = base[torch.randperm(5, generator=generator)]
    torch.testing.assert_close(
        calibrate(new, base, **settings), calibrate(new, shuffled, **settings)
    )


def test_o7_limits_of_the_softmax() -> None:
    sharp = calibrate(NEW, BASE, softmax_t=1e6, shift_weight=1.0, normalize_delta=True)
    torch.testing.assert_close(sharp, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    flat = calibrate(NEW, BASE, softmax_t=0.0, shift_weight=1.0, normalize_delta=True)
    torch.testing.assert_close(flat, torch.full((1, 2), 0.5**0.5, dtype=torch.float64))


def test_o8_temperature_of_the_head_never_changes_a_prediction() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(50, 8, generator=generator)
    prototypes = torch.randn(6, 8, generator=generator)
    predictions = []
    for temperature in (1.0, 16.0, 32.0):
        head = CosineHead(8, temperature=temperature)
        head.set_rows(range(6), prototypes)
        predictions.append(head(features).argmax(1))
    assert predictions[0].equal(predictions[1])
    assert predictions[0].equal(predictions[2])


def test_calibration_equals_the_formula_written_naively() -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    new = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    naive = []
    for c_n in new:
        u_n = c_n / c_n.norm()
        weights = [torch.exp(12 * (u_n @ c_b) / c_b.norm()) for c_b in base]
        pairs = zip(weights, base, strict=True)
        delta = sum(w / sum(weights) * c_b / c_b.norm() for w, c_b in pairs)
        naive.append(0.7 * u_n + 0.3 * delta / delta.norm())
    found = calibrate(new, base, softmax_t=12, shift_weight=0.3, normalize_delta=True)
    torch.testing.assert_close(found, torch.stack(naive))


def engine_with(plugin: PrototypePlugin, sessions: list[list[int]] | None = None) -> Engine:
    torch.manual_seed(0)
    stream = make_stream(sessions)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(base_epochs=2, incremental_epochs=0, batch_size=16, lr=0.05)
    return Engine(stream, model, plugin, recipe)


def engine_after(plugin: PrototypePlugin, num_sessions: int) -> Engine:
    engine = engine_with(plugin)
    for session in range(num_sessions):
        engine.train_session(session)
    return engine


def test_base_rows_are_the_class_means_of_untransformed_training_images() -> None:
    engine = engine_with(TEENPlugin())
    engine.train_session(0)
    samples = engine.stream.train[0]
    images = torch.stack([engine.stream.info.eval_transform(samples[i][0]) for i in range(48)])
    with torch.no_grad():
        features = engine.model.eval().features(images)
    labels = torch.tensor(samples.targets)
    for class_id in (0, 2, 5, 7):
        mean = features[labels == class_id].mean(0)
        torch.testing.assert_close(engine.model.head.rows([class_id])[0], mean)


def test_new_rows_are_the_calibrated_class_means() -> None:
    means, found = (
        engine_after(plugin, num_sessions=2).model.head
        for plugin in (PrototypePlugin(), TEENPlugin(shift_weight=0.3))
    )
    expected = calibrate(
        means.rows([6, 1]).double(),
        means.rows([7, 2, 5, 0]).double(),
        softmax_t=16.0,
        shift_weight=0.3,
        normalize_delta=True,
    )
    torch.testing.assert_close(found.rows([6, 1]), expected.float())


def test_novel_prototypes_move_towards_base_ones() -> None:
    generator = torch.Generator().manual_seed(4)
    base = torch.rand(5, 7, generator=generator, dtype=torch.float64)
    new = torch.rand(1, 7, generator=generator, dtype=torch.float64)
    nearness = []
    for shift in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = calibrate(new, base, softmax_t=16, shift_weight=shift, normalize_delta=True)
        delta = calibrate(new, base, softmax_t=16, shift_weight=1.0, normalize_delta=True)
        nearness.append(torch.cosine_similarity(found, delta).item())
    assert nearness == sorted(nearness)


def test_o6_later_sessions_leave_base_rows_and_backbone_bitwise_unchanged() -> None:
    engine = engine_with(TEENPlugin())
    engine.train_session(0)
    before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    rows = engine.model.head.rows([7, 2, 5, 0])
    for session in (1, 2):
        engine.train_session(session)
    assert all(v.equal(before[k]) for k, v in engine.model.backbone.state_dict().items())
    assert engine.model.head.rows([7, 2, 5, 0]).equal(rows)


def test_o6_order_of_later_sessions_does_not_matter() -> None:
    one, other = engine_after(TEENPlugin(), num_sessions=3), engine_with(TEENPlugin())
    for session in (0, 2, 1):
        other.train_session(session)
    classes = list(range(8))
    assert other.model.head.rows(classes).equal(one.model.head.rows(classes))


def test_a_base_session_of_one_class_warns() -> None:
    engine = engine_with(TEENPlugin(), [[3], [1]])
    with pytest.warns(UserWarning, match="one class"):
        engine.train_session(0)
