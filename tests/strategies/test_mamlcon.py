"""MAMLCon in a stream: later sessions as an inner loop, and bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_mamlcon import copied, engine_with, trained
from helpers.tiny_sounds import write_digits
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.errors import UserError
from cl_suite.methods.episodes.meta_learning import (
    Stage,
    UnitNetwork,
    adapt,
    spare_units,
    take_spare_units,
)
from cl_suite.scenarios.omniglot import Omniglot
from cl_suite.scenarios.spoken_digits import SpokenDigits
from cl_suite.strategies.mamlcon import MAMLConPlugin


def all_samples(engine: Engine, session: int) -> tuple[Tensor, Tensor]:
    samples, transform = engine.stream.train[session], engine.stream.info.eval_transform
    images = transform(torch.stack([samples[i][0] for i in range(len(samples))]))
    return images, torch.tensor(samples.targets)


def first_of_each_class(engine: Engine, session: int) -> tuple[Tensor, Tensor]:
    images, labels = all_samples(engine, session)
    rows = [labels.tolist().index(c) for c in sorted(set(labels.tolist()))]
    return images[rows], labels[rows]


def test_a_later_session_is_the_inner_loop_of_an_episode() -> None:
    engine = trained(engine_with(steps=3, inner_lr=0.02), 1)
    network = UnitNetwork(engine.model)
    engine.model.head.grow([1, 6])
    take_spare_units(engine.model, [1, 6], [0, 1])
    start = {name: tensor.detach().clone() for name, tensor in network.tensors().items()}
    present = network.present([0, 2, 5, 7, 1, 6])

    def stage(x: Tensor, y: Tensor, steps: int) -> Stage:
        return Stage(x, network.units(y), present, steps)

    old, new = first_of_each_class(engine, 0), first_of_each_class(engine, 1)
    templates = [torch.cat(pair) for pair in zip(old, new, strict=True)]
    stages = [stage(*all_samples(engine, 1), steps=3), stage(*templates, steps=1)]
    engine.model.eval()
    expected = adapt(network, start, stages, lr=0.02)
    engine.model.head.keep_first(4)
    trained(engine, 2, start=1)
    found = dict(engine.model.named_parameters())
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].detach(), tensor.detach(), msg=name)


def test_a_template_of_each_class_is_kept_and_counted() -> None:
    engine = engine_with()
    counts = []
    for session in range(3):
        engine.train_session(session)
        num_samples, num_bytes = engine.kept_data()
        counts.append(num_samples)
        assert num_bytes == engine.plugin.templates_.num_bytes > 0
    assert counts == [4, 6, 8]
    kept, labels, _ = engine.plugin.templates_.batch(range(8), "eval")
    for session, places in ((0, slice(4)), (1, slice(4, 6)), (2, slice(6, 8))):
        images, own = first_of_each_class(engine, session)
        assert kept[places].equal(images)
        assert labels[places].equal(own)


def test_without_templates_nothing_is_kept() -> None:
    for parameters in ({"templates": False}, {"inner": "head"}):
        assert trained(engine_with(**parameters)).kept_data() == (0, 0)


def test_the_template_step_changes_what_a_session_learns() -> None:
    one, other = (trained(engine_with(meta_epochs=0, templates=keep)) for keep in (True, False))
    assert not one.model.head.weight.equal(other.model.head.weight)


def test_oml_leaves_the_encoder_of_later_sessions_bitwise_unchanged() -> None:
    engine = trained(engine_with(inner="head"), 1)
    before = copied(engine)
    trained(engine, start=1)
    encoder = {k: v for k, v in engine.model.state_dict().items() if k.startswith("backbone.")}
    assert all(v.equal(before[k]) for k, v in encoder.items())
    assert not engine.model.head.weight[:4].equal(before["head.weight"])


def test_batchnorm_statistics_stay_as_the_recipe_left_them() -> None:
    expected = copied(trained(engine_with(meta_epochs=0), 1))
    found = copied(trained(engine_with(meta_epochs=2, recipe={"incremental_batchnorm": "train"})))
    statistics = [name for name in found if "running" in name or "tracked" in name]
    assert statistics
    assert all(found[name].equal(expected[name]) for name in statistics)
    assert not found["head.weight"][:4].equal(expected["head.weight"])


def test_a_prediction_does_not_depend_on_the_batch() -> None:
    engine = trained(engine_with())
    images, _ = all_samples(engine, 0)
    model = engine.model.eval()
    with torch.no_grad():
        together = model(images)
        among_others = model(torch.cat([images[:1], torch.rand(30, 1, 16, 16)]))[:1]
    torch.testing.assert_close(among_others, together[:1])


def test_new_classes_take_the_meta_learned_units_in_turn() -> None:
    engine = trained(engine_with(steps=0, templates=False, episode_classes=3))
    assert engine.plugin.num_units_ == 2  # half of the base classes
    spare = spare_units(engine.model)["weight"]
    rows = engine.model.head.rows([1, 6, 3, 4])
    assert rows.equal(spare[[0, 1, 0, 1]])


def test_one_base_class_is_refused_before_training() -> None:
    info = make_stream([[3], [1]]).info
    with pytest.raises(UserError, match="base session has one"):
        MAMLConPlugin().check_stream(info, [12, 3])


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="meta_batch must be at least 1, got 0"):
        trained(engine_with(meta_batch=0), 1)


def test_it_learns_spoken_words(tmp_path: Path) -> None:
    stream = SpokenDigits(
        root=str(write_digits(tmp_path)), base_classes=2, way=1, shots=2, test_fraction=0.4
    ).build()
    engine = trained(engine_with(stream, backbone="melconv"))
    assert engine.evaluate(2).sum() == len([t for s in stream.test for t in s.targets])
    assert engine.kept_data()[0] == 4


def test_it_learns_characters() -> None:
    stream = Omniglot(base_classes=4, way=2).build()
    engine = trained(engine_with(stream, way=2), 2)
    assert engine.evaluate(1).sum() == 6 * 10
