from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from cl_suite.data.readers import published
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.fscil import FSCIL

MiniImageNet = partial(FSCIL, dataset="mini_imagenet")
CUB200 = partial(FSCIL, dataset="cub200")


@pytest.fixture(scope="module")
def mini(mini_root: Path) -> Stream:
    return MiniImageNet(root=str(mini_root)).build()


@pytest.fixture(scope="module")
def cub(cub_root: Path) -> Stream:
    return CUB200(root=str(cub_root), image_size=8).build()


def listed(name: published.Lists, session: int) -> list[str]:
    return [line.entry for line in published.load(name) if line.session == session]


# --- miniImageNet


def test_mini_has_the_protocols_sessions(mini: Stream) -> None:
    assert [len(c) for c in mini.info.session_classes] == [60] + 8 * [5]
    assert [len(s) for s in mini.train] == [180] + 8 * [25]
    assert [len(s) for s in mini.test] == [120] + 8 * [10]
    assert mini.info.input_shape == (3, 84, 84)


def test_mini_classes_are_those_of_first_appearance(mini: Stream) -> None:
    assert mini.info.class_names[60] == "hourglass"
    assert mini.info.class_names[99] == "ear"


def test_mini_shots_are_the_published_ones(mini_root: Path) -> None:
    pool = MiniImageNet(root=str(mini_root))._read()
    assert isinstance(pool.train, FileSamples)
    stream = MiniImageNet(root=str(mini_root)).build()
    wanted = [Path(entry).name for entry in listed("mini_imagenet", 2)]
    by_name = {path.name: i for i, path in enumerate(pool.train.paths)}
    expected = torch.stack([pool.train[by_name[name]][0] for name in wanted])
    assert torch.equal(torch.stack([stream.train[2][i][0] for i in range(25)]), expected)


def test_mini_sessions_own_their_data_alone(mini: Stream) -> None:
    for samples in (*mini.train, *mini.test):
        assert isinstance(samples, TensorSamples)
        assert samples.inputs.untyped_storage().nbytes() == len(samples) * 3 * 8 * 8


def test_incomplete_data_are_said(mini: Stream) -> None:
    assert len(mini.info.notes) == 1
    assert "180 instead of 30000 training images" in mini.info.notes[0]
    assert "200 instead of 10000 test images" in mini.info.notes[0]


def test_random_shots_are_said_not_to_be_comparable(mini_root: Path) -> None:
    info = MiniImageNet(root=str(mini_root), shot_selection="random", shot_seed=4).build().info
    assert info.notes[0] == (
        "not comparable with published miniImageNet figures: the shots are drawn at random "
        "(shot_seed 4)"
    )


def test_random_shots_follow_their_seed(mini_root: Path) -> None:
    def shots(seed: int) -> str:
        scenario = MiniImageNet(
            root=str(mini_root), shots=2, shot_selection="random", shot_seed=seed
        )
        return scenario.build().info.fingerprint

    assert shots(1) == shots(1)
    assert shots(1) != shots(2)


def test_fewer_published_shots_are_the_first_of_each_class(mini_root: Path, mini: Stream) -> None:
    stream = MiniImageNet(root=str(mini_root), shots=2).build()
    assert len(stream.train[1]) == 10
    assert torch.equal(stream.train[1][2][0], mini.train[1][5][0])
    assert "base_classes, way or shots are not the protocol's" in stream.info.notes[0]


def test_classes_come_in_another_order_with_random_shots(mini_root: Path, mini: Stream) -> None:
    build = partial(MiniImageNet, root=str(mini_root), shot_selection="random", shots=2)
    drawn, again, other = (build(class_order=seed).build().info for seed in (3, 3, 4))
    assert drawn.session_classes == again.session_classes != other.session_classes
    assert sorted(c for own in drawn.session_classes for c in own) == list(range(100))
    assert [len(c) for c in drawn.session_classes] == [60] + 8 * [5]
    assert any("classes come in another order (3)" in note for note in drawn.notes)
    by_name = build(class_order="natural").build().info
    names = [mini.info.class_names[c] for own in by_name.session_classes for c in own]
    assert names == sorted(names)


def test_another_order_has_no_published_shots(mini_root: Path) -> None:
    with pytest.raises(UserError, match=r"class_order must be published for the published.*got 3"):
        MiniImageNet(root=str(mini_root), class_order=3).build()


def test_base_shots_cap_the_images_of_a_base_class(mini_root: Path) -> None:
    stream = MiniImageNet(root=str(mini_root), base_shots=2).build()
    assert set(Counter(stream.train[0].targets).values()) == {2}
    assert any("at most 2 images" in note for note in stream.info.notes)


def test_a_root_may_begin_with_a_tilde(
    mini_root: Path, mini: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(mini_root.parent))
    stream = MiniImageNet(root=f"~/{mini_root.name}").build()
    assert stream.info.fingerprint == mini.info.fingerprint


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_missing_published_shot_is_named(own_mini_root: Path) -> None:
    name = Path(listed("mini_imagenet", 1)[0]).name
    replace_in(own_mini_root / "split" / "train.csv", f"{name},n03544143\n", "")
    with pytest.raises(UserError, match=rf"published shot '.*{name}' \(session_2.txt\) is not"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_a_label_other_than_the_lists_is_refused(own_mini_root: Path) -> None:
    # such as the wrong files with the right names
    name = Path(listed("mini_imagenet", 1)[0]).name
    replace_in(own_mini_root / "split" / "train.csv", f"{name},n03544143", f"{name},other")
    with pytest.raises(UserError, match=rf"labels '{name}' as 'other', but the published list"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_a_label_other_than_the_file_names_is_refused(own_mini_root: Path) -> None:
    replace_in(
        own_mini_root / "split" / "test.csv",
        "n0000000090000000.jpg,n00000000",
        "n0000000090000000.jpg,n00000001",
    )
    with pytest.raises(
        UserError, match=r"'n0000000090000000.jpg' as 'n00000001', but its name says"
    ):
        MiniImageNet(root=str(own_mini_root)).build()


def test_another_class_order_is_refused(own_mini_root: Path) -> None:
    path = own_mini_root / "split" / "train.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *sorted(lines, reverse=True)]))
    with pytest.raises(UserError, match="labels of the data set do not fit the published lists"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_an_image_in_both_splits_is_refused(own_mini_root: Path) -> None:
    with (own_mini_root / "split" / "test.csv").open("a") as file:
        file.write("n0000000000000000.jpg,n00000000\n")
    with pytest.raises(UserError, match=r"is in split/train.csv and in split/test.csv"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_an_unknown_test_class_is_refused(own_mini_root: Path) -> None:
    with (own_mini_root / "split" / "test.csv").open("a") as file:
        file.write("x.jpg,wolf\n")
    with pytest.raises(UserError, match=r"has class 'wolf', but split/train.csv does not"):
        MiniImageNet(root=str(own_mini_root)).build()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,class\na.jpg,b\n", "must begin with the line 'filename,label'"),
        ("filename,label\n", "lists no image"),
        ("filename,label\na.jpg,\n", "has a line without a file name or label"),
        ("filename,label\n../a.jpg,b\n", "names '../a.jpg', which lies outside its folder"),
    ],
)
def test_a_bad_split_file_is_refused(own_mini_root: Path, text: str, sentence: str) -> None:
    (own_mini_root / "split" / "train.csv").write_text(text)
    if "outside" in sentence:
        (own_mini_root / "split" / "test.csv").write_text("filename,label\nb.jpg,b\n")
    with pytest.raises(UserError, match=sentence):
        MiniImageNet(root=str(own_mini_root)).build()


def test_a_missing_image_is_named(own_mini_root: Path) -> None:
    (own_mini_root / "images" / "n0000000000000001.jpg").unlink()
    with pytest.raises(UserError, match=r"n0000000000000001.jpg' cannot be read .*; replace"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_images_of_another_size_are_refused(own_mini_root: Path) -> None:
    from PIL import Image

    # a whole session of another size: within the session all agree
    for entry in listed("mini_imagenet", 1):
        Image.new("RGB", (9, 9)).save(own_mini_root / "images" / Path(entry).name)
    with pytest.raises(UserError, match=r"different shapes, \(3, 8, 8\) and \(3, 9, 9\)"):
        MiniImageNet(root=str(own_mini_root)).build()


def test_real_subset_follows_the_protocol(shared: Path) -> None:
    root = shared / "data" / "miniimagenet"
    if not root.is_dir():
        pytest.skip("needs ../shared/data/miniimagenet, a subset for research only")
    stream = MiniImageNet(root=str(root), base_shots=2).build()
    assert stream.info.class_names[0] == "house finch"
    assert stream.info.class_names[59] == "horizontal bar"
    assert [len(s) for s in stream.train] == [120] + 8 * [25]
    assert stream.train[0][0][0].shape == (3, 84, 84)


# --- CUB-200


def test_cub_has_the_protocols_sessions(cub: Stream) -> None:
    assert [len(c) for c in cub.info.session_classes] == [100] + 10 * [10]
    assert [len(s) for s in cub.train] == [200] + 10 * [50]
    assert [len(s) for s in cub.test] == [200] + 10 * [20]
    assert (cub.info.way, cub.info.shots) == (10, 5)


def test_cub_shots_are_the_published_ones(cub: Stream) -> None:
    shots = cub.train[1]
    assert isinstance(shots, FileSamples)
    names = ["CUB_200_2011/" + path.relative_to(shots.root).as_posix() for path in shots.paths]
    assert names == listed("cub200", 1)


def test_cub_photos_stay_files_of_their_own_size(cub: Stream) -> None:
    shapes = {tuple(cub.train[0][i][0].shape) for i in range(6)}
    assert len(shapes) > 1
    assert cub.info.input_shape == (3, 8, 8)
    assert cub.info.train_transform(cub.train[0][1][0]).shape == (3, 8, 8)


def test_cub_root_may_be_the_folder_above(cub_root: Path, cub: Stream) -> None:
    above = CUB200(root=str(cub_root.parent), image_size=8).build()
    assert above.info.fingerprint == cub.info.fingerprint


def test_a_truncated_cub_photo_is_named(own_cub_root: Path) -> None:
    photo = own_cub_root / "images" / "001.Base_bird" / "001.Base_bird_0.jpg"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(UserError, match=r"001.Base_bird_0.jpg' cannot be read"):
        CUB200(root=str(own_cub_root)).build()


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("train_test_split.txt", "1 1\n", "", "image 1 must have 0 or 1 in train_test_split.txt"),
        ("image_class_labels.txt", "1 1\n", "1 900\n", "image 1 must have a class of classes.txt"),
        ("images.txt", "1 001.Base_bird/", "1 ../", "lies outside its folder"),
        ("classes.txt", "1 001.Base_bird\n", "1\n", "has the line '1'; expected '<number>"),
    ],
)
def test_contradicting_cub_files_are_refused(
    own_cub_root: Path, file: str, old: str, new: str, sentence: str
) -> None:
    path = own_cub_root / file
    text = path.read_text()
    assert text.startswith(old)
    path.write_text(new + text[len(old) :])
    with pytest.raises(UserError, match=sentence):
        CUB200(root=str(own_cub_root)).build()
