from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_layouts import write_image

from cl_suite.data.samples import TensorSamples
from cl_suite.data.shifts import SHIFTS, shifted
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.domain_incremental import DomainIncremental

DOMAINS = ("photo", "quick", "sketch")


def build(**parameters: Any) -> Stream:
    return DomainIncremental(**parameters).build()


@pytest.fixture
def domains_root(tmp_path: Path) -> Path:
    """Three domains of three classes of five pictures, each domain of its own colours."""
    for number, domain in enumerate(DOMAINS):
        for class_id in range(3):
            for index in range(5):
                colour = 80 * number + 10 * class_id + index
                write_image(tmp_path / domain / f"kind{class_id}" / f"{index}.png", colour, (12, 9))
    return tmp_path


def folders(root: Path, **parameters: Any) -> Stream:
    return build(source="domain_folders", root=str(root), image_size=8, **parameters)


def speakers(root: Path, **parameters: Any) -> Stream:
    return build(source="spoken_digits", root=str(root), **parameters)


def inputs(samples: Any) -> Any:
    assert isinstance(samples, TensorSamples)
    return samples.inputs


def test_a_session_shows_all_images_in_its_own_way() -> None:
    stream = build(shifts=["none", "rotate90", "invert"])
    plain_train, plain_test = inputs(stream.train[0]), inputs(stream.test[0])
    assert len(plain_train) == len(plain_test) == 2420
    for session, shift in ((1, "rotate90"), (2, "invert")):
        assert inputs(stream.train[session]).equal(shifted(plain_train, shift))
        assert inputs(stream.test[session]).equal(shifted(plain_test, shift))
    assert stream.info.kind == "domain"
    assert stream.info.session_classes == 3 * (tuple(range(242)),)
    assert stream.info.notes == ("domains in order of arrival: none, rotate90, invert",)


def test_all_shifts_are_the_default() -> None:
    assert build().info.num_sessions == len(SHIFTS)


def test_shifts_come_in_the_order_given() -> None:
    one, other = build(shifts=["none", "invert"]), build(shifts=["invert", "none"])
    assert inputs(one.train[0]).equal(inputs(other.train[1]))
    assert inputs(one.train[1]).equal(inputs(other.train[0]))


def test_noise_follows_its_seed_and_differs_between_training_and_test() -> None:
    first, again, other = (build(shifts=["noise"], seed=seed) for seed in (0, 0, 1))
    assert first.info.fingerprint == again.info.fingerprint
    assert first.info.fingerprint != other.info.fingerprint
    plain = build(shifts=["none"])
    # a corner has no ink in any drawing, so it shows the noise alone
    assert not inputs(plain.train[0])[:, 0, 0, 0].any()
    assert not inputs(plain.test[0])[:, 0, 0, 0].any()
    corners = [inputs(first.train[0])[:, 0, 0, 0], inputs(first.test[0])[:, 0, 0, 0]]
    assert not corners[0].equal(corners[1])


def test_files_of_one_size_can_be_shifted(mini_root: Path, picture_folder: Path) -> None:
    mini = build(source="mini_imagenet", root=str(mini_root), shifts=["none", "blur"])
    assert inputs(mini.train[1]).shape == inputs(mini.train[0]).shape
    own = build(source="image_folder", root=str(picture_folder), shifts=["rotate270", "noise"])
    assert [len(test) for test in own.test] == [21, 21]


def test_a_session_is_a_domain_folder(domains_root: Path) -> None:
    stream = folders(domains_root)
    assert stream.info.session_classes == 3 * ((0, 1, 2),)
    assert stream.info.class_names == ("kind0", "kind1", "kind2")
    assert stream.info.kind == "domain"
    assert [len(train) for train in stream.train] == 3 * [12]
    assert [len(test) for test in stream.test] == 3 * [3]
    for number, (train, test) in enumerate(zip(stream.train, stream.test, strict=True)):
        for samples in (train, test):
            for image, target in zip(inputs(samples), samples.targets, strict=True):
                colour = 80 * number + 10 * target
                assert colour <= int(image[0].max()) < colour + 5
    assert stream.info.notes[-1] == "domains in order of arrival: photo, quick, sketch"


def test_domain_folders_come_in_the_order_given_and_others_are_left_out(
    domains_root: Path,
) -> None:
    stream = folders(domains_root, domains=["sketch", "photo"])
    assert [int(inputs(train)[0, 0].max()) // 80 for train in stream.train] == [2, 0]


def test_what_is_no_domain_folder_is_passed_by_and_links_are_followed(
    domains_root: Path, tmp_path: Path
) -> None:
    (domains_root / "photo_train.txt").touch()
    (domains_root / ".cache").mkdir()
    elsewhere = tmp_path.parent / f"{tmp_path.name}_elsewhere"
    shutil.copytree(domains_root / "photo", elsewhere)
    (domains_root / "linked").symlink_to(elsewhere)
    (domains_root / "above").symlink_to(domains_root)
    assert "above" not in folders(domains_root).info.notes[-1]
    assert "linked" in folders(domains_root).info.notes[-1]


def test_a_domain_may_have_its_test_images_in_another_folder(
    domains_root: Path, tmp_path: Path
) -> None:
    exam = tmp_path.parent / f"{tmp_path.name}_exam"
    for domain in ("photo", "sketch"):
        for class_id in range(3):
            write_image(exam / domain / f"kind{class_id}" / "0.png", 250 + class_id, (12, 9))
    stream = folders(domains_root, test_root=str(exam), domains=["sketch", "photo"])
    assert [len(train) for train in stream.train] == 2 * [15]
    assert [len(test) for test in stream.test] == 2 * [3]
    assert all(int(inputs(test).amax(dim=(1, 2, 3)).min()) >= 200 for test in stream.test)
    with pytest.raises(
        UserError, match=r"domain 'quick' is in '.*' but not in '.*_exam'; add imag"
    ):
        folders(domains_root, test_root=str(exam))
    with pytest.raises(UserError, match="test_root 'nowhere' is not a folder; it must hold one fo"):
        folders(domains_root, test_root="nowhere")


def test_each_source_has_its_own_share_for_testing(domains_root: Path, spoken_root: Path) -> None:
    own = {"source": "image_folder", "root": str(domains_root / "photo"), "shifts": ["none"]}
    for fraction, of_domain, of_folder, of_speaker in ((None, 3, 6, 4), (0.4, 6, 6, 8)):
        assert len(folders(domains_root, test_fraction=fraction).test[0]) == of_domain
        assert len(build(**own, test_fraction=fraction).test[0]) == of_folder
        assert len(speakers(spoken_root, test_fraction=fraction).test[0]) == of_speaker


def test_shifts_are_made_at_the_size_that_small_pictures_have(tmp_path: Path) -> None:
    for index in range(8):
        write_image(tmp_path / f"kind{index % 2}" / f"{index}.png", index)
    stream = build(
        source="image_folder", root=str(tmp_path), shifts=["none", "rotate90"], image_size=16
    )
    assert inputs(stream.train[1]).shape[1:] == (3, 8, 8)
    assert stream.info.input_shape == (3, 16, 16)


def test_a_note_names_its_domain(domains_root: Path) -> None:
    (domains_root / "quick" / "kind0" / "notes.txt").touch()
    assert folders(domains_root).info.notes[0].startswith("domain 'quick': skipped 1 entry")


def write_same_pictures(root: Path, names: Sequence[str], *, own: int = 0) -> Path:
    """Write domains of the same two classes of ten pictures, under other names and in other order.

    Args:
        own: further pictures of each class that are in this domain alone.
    """
    for number, name in enumerate(names):
        for picture in range(20):
            index = (picture + 7 * number) % 10
            place = root / name / f"kind{picture // 10}"
            write_image(place / f"{index}{name}.png", picture, (12, 9))
        for picture in range(2 * own):
            place = root / name / f"kind{picture // own}"
            write_image(place / f"own{picture}.png", 50 + 50 * number + picture, (12, 9))
    return root


def contents(sessions: Sequence[Any]) -> list[bytes]:
    return [row.numpy().tobytes() for samples in sessions for row in inputs(samples)]


@pytest.mark.parametrize("seed", range(3))
def test_no_domain_tests_a_copy_of_what_another_learns(tmp_path: Path, seed: int) -> None:
    stream = folders(write_same_pictures(tmp_path, ["photo", "quick"]), seed=seed)
    assert len(contents(stream.train)) == 32
    assert len(contents(stream.test)) == 8
    assert not {*contents(stream.train)} & {*contents(stream.test)}
    assert stream.info.notes[0].startswith(
        "20 images are copies of others in the same class (photo/kind0/0photo.png = quick/kind0/7qu"
    )


def test_copies_of_another_domains_pictures_can_be_dropped_or_refused(tmp_path: Path) -> None:
    write_same_pictures(tmp_path, ["photo", "quick"], own=5)
    stream = folders(tmp_path, duplicates="drop", domains=["quick", "photo"])
    sessions = zip(stream.train, stream.test, strict=True)
    assert [len(train) + len(test) for train, test in sessions] == [30, 10]
    found = contents([*stream.train, *stream.test])
    assert len(found) == len({*found})
    with pytest.raises(UserError, match=r"20 images are copies .*; remove the copies, or pass"):
        folders(tmp_path, duplicates="refuse")


def test_a_domain_of_copies_alone_is_named_if_copies_are_dropped(tmp_path: Path) -> None:
    write_same_pictures(tmp_path, ["photo", "quick"])
    with pytest.raises(UserError, match=r"domain 'quick' lacks class 'kind0', .*duplicates='drop'"):
        folders(tmp_path, duplicates="drop")


def test_a_divided_domain_decides_for_the_copies_in_the_others(tmp_path: Path) -> None:
    write_same_pictures(tmp_path, ["photo", "quick"])
    for kind in ("kind0", "kind1"):
        for index, path in enumerate(sorted((tmp_path / "quick" / kind).iterdir())):
            part = tmp_path / "quick" / ("test" if index in (2, 5) else "train") / kind
            part.mkdir(parents=True, exist_ok=True)
            path.rename(part / path.name)
        (tmp_path / "quick" / kind).rmdir()
    stream = folders(tmp_path)
    assert {*contents(stream.train[:1])} == {*contents(stream.train[1:])}
    assert {*contents(stream.test[:1])} == {*contents(stream.test[1:])}


def test_test_images_that_another_divided_domain_learns_are_counted(tmp_path: Path) -> None:
    for domain, parts in (("photo", ("train", "test")), ("quick", ("test", "train"))):
        for number, part in enumerate(parts):
            for picture in range(3):
                place = tmp_path / domain / part / "kind0"
                write_image(place / f"{picture}.png", 10 * number + picture, (12, 9))
    notes = folders(tmp_path).info.notes
    assert any(note.startswith("6 of the test images are training images too") for note in notes)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "omniglots"}, "source must be one of omniglot, .*, got 'omniglots'"),
        ({"source": "domain_folders"}, "source 'domain_folders' needs a root"),
        ({"source": "spoken_digits"}, "source 'spoken_digits' needs a root"),
        ({"source": "cifar100"}, "source 'cifar100' needs a root"),
        (
            {"shifts": ["none", "rotate45"]},
            "shifts names 'rotate45', which is unknown; did you mean 'rotate",
        ),
        ({"shifts": ["none", "none"]}, "shifts names 'none' twice; name each once"),
        ({"shifts": []}, "shifts is empty; name at least one, or leave it out for all"),
        ({"test_fraction": 0.3}, "source 'omniglot' has its own test images, so test_fraction"),
        (
            {"source": "spoken_digits", "root": "x", "image_size": 32},
            r"source 'spoken_digits' has sounds, no images, so image_size \(32\) cannot be used",
        ),
        (
            {"source": "domain_folders", "root": "x", "test_root": "y", "test_fraction": 0.3},
            "test_root 'y' has the test images, so test_fraction 0.3 has no part",
        ),
        ({"domains": ["real"]}, "source 'omniglot' has no domains; pass shifts instead of domains"),
        (
            {"source": "domain_folders", "root": "nowhere"},
            "root 'nowhere' is not a folder; it must hold one folder a domain",
        ),
        (
            {"source": "domain_folders", "root": "x", "shifts": ["none"]},
            "source 'domain_folders' already has domains; leave shifts out",
        ),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**parameters)


def test_an_unknown_domain_is_refused_with_a_suggestion(
    domains_root: Path, spoken_root: Path
) -> None:
    with pytest.raises(UserError, match="names 'skech', which is unknown; did you mean 'sketch'"):
        folders(domains_root, domains=["skech"])
    with pytest.raises(UserError, match="domains names 'adda', which is unknown; did you mean"):
        speakers(spoken_root, domains=["adda"])


def test_domains_of_other_classes_are_refused(domains_root: Path) -> None:
    write_image(domains_root / "quick" / "extra" / "0.png", 201)
    write_image(domains_root / "quick" / "extra" / "1.png", 202)
    with pytest.raises(
        UserError, match="domain 'photo' lacks class 'extra', which domain 'quick' has; all domains"
    ):
        folders(domains_root)
    shutil.rmtree(domains_root / "quick" / "extra")
    shutil.rmtree(domains_root / "sketch" / "kind1")
    with pytest.raises(UserError, match="domain 'sketch' lacks class 'kind1', which domain 'photo"):
        folders(domains_root)


def test_an_empty_domain_is_refused(domains_root: Path) -> None:
    (domains_root / "vacant").mkdir()
    with pytest.raises(UserError, match=r"vacant' has no class folder with images"):
        folders(domains_root)
    assert folders(domains_root, domains=list(DOMAINS)).info.num_sessions == 3


def test_a_root_without_domains_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png")
    with pytest.raises(UserError, match="has no folder; it must hold one folder a domain"):
        folders(tmp_path)


def test_photos_that_stay_files_cannot_be_shifted(cub_root: Path) -> None:
    with pytest.raises(UserError, match="source 'cub200' are too large to be shifted in memory"):
        build(source="cub200", root=str(cub_root), shifts=["blur"])
