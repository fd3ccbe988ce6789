"""Bad input to the learner's commands: one sentence, exit code 2, and nothing changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.classifier_files import (
    BACKBONE,
    classifier_file,
    other_backbone,
    picture_files,
    weights_file,
)
from helpers.learners import photo_folder
from helpers.tiny_runs import refused

from cl_suite.cli import main
from cl_suite.learner import store
from cl_suite.storage import checkpoint
from cl_suite.storage.checkpoint import FileKind


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    classifier_file(folder)
    other_backbone(folder)
    picture_files(folder, of=7, number=2)
    (folder / "text.png").write_text("no picture")
    (folder / "void").mkdir()
    (folder / "rest").mkdir()
    (folder / "rest/note.txt").write_text("mine")
    content = (folder / "a.clm").read_bytes()
    (folder / "damaged.clm").write_bytes(content[:-9])
    (folder / "changed.clm").write_bytes(content[:-9] + b"123456789")
    (folder / "text.clm").write_text("no classifier")
    old = FileKind(store.KIND.name, "cl-suite-classifier-0", store.KIND.remedy)
    checkpoint.save(folder / "old.clm", {"labels": []}, old)
    return folder


@pytest.fixture
def place(made: Path, here: Path) -> Path:
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


REFUSED = {
    # the list
    "forget a.clm clas1": "label 'clas1' is unknown; did you mean 'class1'?",
    "merge a.clm other.clm": "'other.clm' cannot be merged: the other classifier has backbone",
    "learn a.clm okapi text.png": "no picture of 'okapi' could be used, so nothing was learned",
    "learn a.clm okapi": "no picture of 'okapi' was given; name at least one",
    "learn a.clm okapi void": "folder 'void' has no pictures",
    "learn old.clm okapi 7_0.png": "is from another version or of another kind",
    "info old.clm": "is from another version or of another kind",
    "info damaged.clm": "'damaged.clm' is damaged",
    "info changed.clm": "'changed.clm' is damaged (its digest does not match)",
    "predict text.clm 7_0.png": "'text.clm' is damaged",
    "learn new.clm --from rest": "root 'rest' has no class folder with images",
    "learn new.clm --from nowhere": "root 'nowhere' is not a folder",
    "evaluate a.clm rest": "root 'rest' has no class folder with images",
    "learn a.clm --from photos": "exists already; choose another name, or replace it by "
    "--overwrite",
    "learn a.clm --from-run runs": "exists already; choose another name, or replace it by",
    "learn a.clm okapi 7_0.png --backbone resnet18": "exists already; choose another name",
    "learn new.clm okapi 7_0.png": "'new.clm' does not exist; make one by `cl-suite learn new.clm",
    # what else one types
    "predict new.clm 7_0.png": "classifier file 'new.clm' does not exist; make one by",
    "predict a 7_0.png": "classifier file 'a' does not exist; did you mean 'a.clm'?",
    "predict a.clm nowhere.png": "picture 'nowhere.png' does not exist; check the path",
    "predict a.clm *.tiff": "no file matches '*.tiff'; check the pattern",
    "predict a.clm": "the following arguments are required: IMAGES; see `cl-suite predict --help`",
    "predict a.clm text.png": "none of the pictures could be used",
    "predict a.clm text.png --json": "none of the pictures could be used",
    "predict a.clm 7_0.png --top 0": "argument --top: must be a whole number from 1 on, got 0",
    "predict a.clm 7_0.png --json --csv": "argument --csv: not allowed with argument --json",
    "predict a.clm 7_0.png --jason": "unrecognized arguments: --jason",
    "predict a.clm 7_0.png --device gpu": "--device gpu cannot be used",
    "predict void 7_0.png": "'void' is a folder",
    "rename a.clm class0 class1": "label 'class1' names another class already",
    "rename a.clm class9 x": "label 'class9' is unknown",
    "undo a.clm": "'a.clm' has no previous version to return to",
    "undo new.clm": "classifier file 'new.clm' does not exist",
    "merge a.clm new.clm": "classifier file 'new.clm' does not exist",
    "merge a.clm text.clm": "'text.clm' is damaged",
    "learn a.clm": "say what 'a.clm' is to learn: `cl-suite learn a.clm LABEL IMAGES...`",
    "learn a.clm 7_0.png 7_1.png": "'7_0.png' is a picture, and the class comes first",
    "learn a.clm void": "(a folder of class folders is given as `--from void`)",
    "learn a.clm okapi 7_0.png --overwrite": "--overwrite makes a new classifier; say from what",
    "learn new.clm --from photos --from-run runs": "so it contradicts --from; leave one",
    "learn new.clm --from-run runs --backbone resnet18": "so it contradicts --backbone",
    "learn new.clm --from-run runs --beside resnet18": "so it contradicts --beside",
    "learn new.clm --beside resnet18 --beside-weights none": "name the second network's .safeten",
    "learn new.clm --backbone resnet18 --beside-weights 7_0.png": "name it by --beside NAME too",
    "learn new.clm --from-run rest": "'rest' is not a run folder",
    "learn new.clm --backbone resnet18 --weights none": "weights file 'none' does not exist",
    "learn new.clm --backbone resnett18": "backbone 'resnett18' is unknown; did you mean",
    "learn new.clm --backbone conv4": "backbone 'conv4' does not say how pictures are prepared",
    "serve a.clm --port 99999": "argument --port: must be a whole number in 0 to 65535, got 99999",
    "serve a.clm --held-out rest": "root 'rest' has no class folder with images",
    "lern a.clm okapi": "command 'lern' is unknown; did you mean 'learn'?",
}


@pytest.mark.parametrize("command", REFUSED)
def test_bad_input_takes_one_sentence_and_changes_nothing(
    command: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "photos" in command:
        photo_folder(place / "photos", classes=2, number=2)
    before = contents(place)
    assert main(command.split()) == 2
    said = capfd.readouterr()
    *skipped, error = said.err.splitlines()
    assert error.startswith("cl-suite: ")
    assert REFUSED[command] in error
    assert all(line.startswith("skipped: ") for line in skipped)
    assert "--json" in command or said.out == ""
    assert contents(place) == before


def test_strict_learns_nothing_from_pictures_of_which_one_is_damaged(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(place)
    error = refused(capsys, "learn", "a.clm", "okapi", "7_0.png", "text.png", "--strict")
    assert "image 'text.png' cannot be read" in error
    assert contents(place) == before


def test_strict_makes_nothing_from_a_folder_with_a_damaged_picture(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photo_folder(here / "photos", classes=2, number=2)
    (root / "class1/broken.png").write_bytes(b"")
    start = ["--from", "photos", "--backbone", BACKBONE, "--weights", str(weights_file(here))]
    before = contents(here)
    assert "class1/broken.png" in refused(capsys, "learn", "b.clm", *start, "--strict")
    assert contents(here) == before


def test_a_file_that_another_process_made_meanwhile_is_not_replaced(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_suite.learner.learner import Learner

    new = Learner.new

    def make_while_another_does(*args: Any, **kwargs: Any) -> Learner:
        shutil.copy("a.clm", "b.clm")
        return new(*args, **kwargs)

    monkeypatch.setattr(Learner, "new", make_while_another_does)
    start = ["--backbone", BACKBONE, "--weights", str(weights_file(place))]
    error = refused(capsys, "learn", "b.clm", "okapi", "7_0.png", *start)
    assert "'b.clm' exists already; choose another name" in error
    assert Path("b.clm").read_bytes() == Path("a.clm").read_bytes()


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_strict_prints_no_part_of_an_answer(
    form: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # more pictures than are read at once, the damaged one last
    shown = [*picture_files(place / "many", of=1, number=70), "text.png"]
    assert main(["predict", "a.clm", *shown, "--strict", *form]) == 2
    said = capsys.readouterr()
    assert "image 'text.png' cannot be read" in said.err
    assert said.out == ""


def test_a_message_does_not_list_thousands_of_labels(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from helpers.learners import pictures, tiny_learner

    learner = tiny_learner()
    examples, _ = learner.look(pictures(1, of=1))
    for number in range(100):
        learner.add(examples, f"class {number}")
    learner.save("a.clm")
    error = refused(capsys, "forget", "a.clm", "okapi")
    assert error.endswith(", ... (100 in all)\n")
    assert len(error) < 1000


def test_weights_that_cannot_be_downloaded_say_how_to_pass_a_file(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to the hub. Please try again. Or do not.")

    monkeypatch.setattr(timm, "create_model", fail)
    photo_folder(here / "photos", classes=2, number=2)
    error = refused(capsys, "learn", "a.clm", "--from", "photos")
    assert (
        "of backbone 'tf_efficientnet_lite0' could not be downloaded (no route to the hub); "
        in error
    )
    assert "copy their .safetensors file from a machine with a connection" in error
    assert "by --weights FILE" in error
    assert "--model" not in error
    assert not (here / "a.clm").exists()


def test_weights_of_another_network_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--backbone", BACKBONE, "--weights", str(weights_file(place))]
    assert main(["learn", "b.clm", "okapi", "7_0.png", *start]) == 0
    from safetensors.torch import load_file, save_file

    state = load_file("weights.safetensors")
    save_file({name: value + 1 for name, value in state.items()}, "others.safetensors")
    error = refused(capsys, "predict", "b.clm", "7_0.png", "--weights", "others.safetensors")
    assert "needs other backbone weights than" in error
    assert "--weights" in error


def test_a_classifier_without_a_class_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--backbone", BACKBONE, "--weights", str(weights_file(place))]
    assert main(["learn", "b.clm", *start]) == 0
    capsys.readouterr()
    assert "knows no class yet" in refused(capsys, "predict", "b.clm", "7_0.png")
    assert main(["info", "b.clm"]) == 0
    assert main(["info", "b.clm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["classes"] == []


def test_a_file_of_another_backbone_in_its_place_is_not_changed(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_suite.learner.learner import Learner

    look: Callable[..., object] = Learner.look

    def look_while_another_overwrites(self: Learner, *args: object, **kwargs: object) -> object:
        shutil.copy("other.clm", "a.clm")
        return look(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "look", look_while_another_overwrites)
    error = refused(capsys, "learn", "a.clm", "okapi", "7_0.png")
    assert "a.clm' was replaced by one with another backbone meanwhile" in error
    assert Path("a.clm").read_bytes() == Path("other.clm").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "learn --help",
        "predict missing.clm x.png",
        "predict a.clm missing.png",
        "learn missing.clm okapi 7_0.png",
        "learn a.clm --from rest",
        "forget missing.clm okapi",
        "evaluate a.clm missing",
        "export missing.clm x.onnx",
        "serve missing.clm",
    ],
)
def test_what_needs_no_torch_does_not_import_it(command: str, place: Path) -> None:
    code = (
        "import sys\nfrom cl_suite.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
