from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_suite.data.readers import omniglot
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.few_shots import FewShots
from cl_suite.scenarios.omniglot import Omniglot

FINGERPRINT = "9b061decb141208a9719b2426632b55f3b82aa77e253be193370b1502593be5a"


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Omniglot().build()


def test_default_stream_is_the_pinned_one(stream: Stream) -> None:
    assert stream.info.fingerprint == FINGERPRINT


def test_same_parameters_give_the_same_fingerprint(stream: Stream) -> None:
    assert Omniglot().build().info.fingerprint == stream.info.fingerprint


@pytest.mark.parametrize("other", [{"class_order": 1}, {"shot_selection": "random"}])
def test_other_seed_gives_another_fingerprint(other: dict[str, object], stream: Stream) -> None:
    assert Omniglot(**other).build().info.fingerprint != stream.info.fingerprint  # type: ignore[arg-type]


def test_shot_seed_changes_random_shots_alone() -> None:
    first = Omniglot(shot_selection="random", shot_seed=1).build()
    second = Omniglot(shot_selection="random", shot_seed=2).build()
    assert first.info.session_classes == second.info.session_classes
    assert first.train[0].digest(0) == second.train[0].digest(0)
    assert first.info.fingerprint != second.info.fingerprint


def test_sessions_have_the_promised_sizes(stream: Stream) -> None:
    assert [len(c) for c in stream.info.session_classes] == [122] + 12 * [10]
    assert [len(s) for s in stream.train] == [1220] + 12 * [50]
    assert [len(s) for s in stream.test] == [1220] + 12 * [100]
    assert (stream.info.way, stream.info.shots, stream.info.notes) == (10, 5, ())


def test_all_classes_come_once(stream: Stream) -> None:
    assert sorted(stream.info.seen_classes(12)) == list(range(242))


def test_every_class_of_a_session_has_its_shots_and_ten_test_drawings(stream: Stream) -> None:
    for classes, train, test in zip(
        stream.info.session_classes[1:], stream.train[1:], stream.test[1:], strict=True
    ):
        assert Counter(train.targets) == dict.fromkeys(classes, 5)
        assert Counter(test.targets) == dict.fromkeys(classes, 10)


def test_shots_are_the_first_five_drawings(stream: Stream) -> None:
    pool = omniglot.read()
    class_id = stream.info.session_classes[1][0]
    rows = [i for i, target in enumerate(pool.train.targets) if target == class_id]
    assert torch.equal(
        torch.stack([stream.train[1][i][0] for i in range(5)]),
        torch.stack([pool.train[i][0] for i in rows[:5]]),
    )


def test_images_are_28_pixels_with_bright_ink_on_dark_paper(stream: Stream) -> None:
    image = stream.train[0][0][0]
    assert image.shape == (1, 28, 28)
    assert image.dtype == torch.uint8
    assert image[0, 0, 0] == 0
    assert image.max() > 200
    assert stream.info.input_shape == (1, 28, 28)


def test_class_names_are_alphabet_and_character_in_order(stream: Stream) -> None:
    names = stream.info.class_names
    assert names[0] == "Balinese/character01"
    assert list(names) == sorted(names)
    assert len(names) == 242


def test_no_drawing_is_both_learned_and_tested(stream: Stream) -> None:
    learned = {s.digest(i) for s in stream.train for i in range(len(s))}
    tested = {s.digest(i) for s in stream.test for i in range(len(s))}
    assert not learned & tested


def test_a_session_owns_its_data_alone(stream: Stream) -> None:
    for samples in (*stream.train, *stream.test):
        assert isinstance(samples, TensorSamples)
        assert samples.inputs.untyped_storage().nbytes() == len(samples) * 28 * 28


def test_training_is_augmented_and_evaluation_is_not(stream: Stream) -> None:
    image = stream.train[0][0][0]
    train, plain = stream.info.train_transform, stream.info.eval_transform
    assert not torch.equal(train(image), train(image))
    assert torch.equal(plain(image), image.float() / 255)


def test_augmentation_can_be_switched_off() -> None:
    info = Omniglot(augment=False).build().info
    assert info.train_transform == info.eval_transform


def test_a_remainder_becomes_a_smaller_last_session_and_is_said() -> None:
    info = Omniglot(base_classes=236, way=4).build().info
    assert [len(c) for c in info.session_classes] == [236, 4, 2]
    assert info.way is None
    assert info.notes == ("the last session has 2 instead of 4 classes: way does not divide them",)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"base_classes": 300}, "base_classes is 300, but there are 242 classes"),
        ({"base_classes": 0}, "base_classes must be at least 1, got 0"),
        ({"way": 0}, "way must be at least 1, got 0"),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"shots": 11}, "too few images to learn from, 10 for 11 shots; choose fewer"),
        ({"shot_selection": "frist"}, "shot_selection must be one of first, random, got 'frist'"),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Omniglot(**parameters).build()  # type: ignore[arg-type]


def test_too_many_shots_name_the_class() -> None:
    with pytest.raises(UserError, match=r"class '\w+/character\d\d' has too few images"):
        Omniglot(shots=12).build()


def test_constructor_stores_its_parameters() -> None:
    scenario = Omniglot(way=7, class_order=3)
    assert vars(scenario) == vars(FewShots()) | {
        "root": None,
        "base_classes": 122,
        "way": 7,
        "shots": 5,
        "shot_selection": "first",
        "shot_seed": 0,
        "class_order": 3,
        "augment": True,
    }


def test_shrinking_a_blank_page_and_full_ink_keeps_them() -> None:
    ink = np.stack([np.zeros((105, 105), dtype=bool), np.ones((105, 105), dtype=bool)])
    small = omniglot.shrink(ink, 28)
    assert small.unique().tolist() == [0, 255]
    assert small[0].max() == 0
    assert small[1].min() == 255


def test_shrinking_averages_the_area_by_hand() -> None:
    # 3 pixels onto 2: each new pixel covers one whole and half of the middle one, area 1.5 x 1.5
    ink = np.zeros((1, 3, 3), dtype=bool)
    ink[0, 0, 0] = ink[0, 1, 1] = True
    expected = torch.tensor([[1 + 0.25, 0.25], [0.25, 0.25]]) / 2.25 * 255
    assert torch.equal(omniglot.shrink(ink, 2)[0], expected.round().to(torch.uint8))


def test_packing_the_drawings_again_gives_the_shipped_file(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "omniglot_small"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/omniglot_small, the drawings that were packed")
    omniglot.pack(folder, tmp_path / "again.npz")
    ink, names = omniglot.unpack(tmp_path / "again.npz")
    assert names == omniglot.read().class_names
    again = omniglot.shrink(ink.reshape(-1, 105, 105), 28).reshape(242, 20, 1, 28, 28)
    train = omniglot.read().train
    assert isinstance(train, TensorSamples)
    assert torch.equal(again[:, :10].flatten(0, 1), train.inputs)
