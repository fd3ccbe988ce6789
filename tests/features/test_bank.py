"""The feature bank: each distinct image is computed once, and anew where the recipe is another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.banks import Counting, sets, with_transform
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.data.transforms import ToFloat
from cl_suite.features import compute
from cl_suite.features.bank import banked_stream
from cl_suite.features.bank_store import FEATURES, META, entries
from cl_suite.models.backbones import create_backbone


@pytest.fixture
def stream() -> Stream:
    return make_stream()


def without_bank(stream: Stream, backbone: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return [backbone(stream.info.eval_transform(s.inputs)) for s in sets(stream)]


def test_each_distinct_image_is_run_once(stream: Stream, tmp_path: Path) -> None:
    # a training image that is a test image too, under another label, and twice
    stream.test[1].inputs[:2] = stream.train[0].inputs[:1]  # type: ignore[attr-defined]
    backbone = Counting()
    banked_stream(stream, backbone, folder=tmp_path, batch_size=1)
    num_images = sum(len(s) for s in sets(stream))
    assert backbone.num_runs == num_images - 2
    assert len({x.numpy().tobytes() for x in backbone.seen}) == num_images - 2
    assert entries(tmp_path)[0].num_images == num_images - 2


def test_a_second_call_runs_nothing(stream: Stream, tmp_path: Path) -> None:
    first = banked_stream(stream, Counting(), folder=tmp_path)
    backbone = Counting()
    second = banked_stream(stream, backbone, folder=tmp_path)
    assert backbone.num_runs == 0
    assert second.info == first.info
    for a, b in zip(sets(first), sets(second), strict=True):
        assert a.inputs.equal(b.inputs)


def test_only_the_images_that_are_new_are_run(stream: Stream, tmp_path: Path) -> None:
    banked_stream(stream, Counting(), folder=tmp_path)
    grown = make_stream([[7, 2, 5, 0], [6, 1], [3, 4], [8]])
    backbone = Counting()
    banked = banked_stream(grown, backbone, folder=tmp_path)
    new = len(grown.train[3]) + len(grown.test[3])
    assert sorted(info.num_images for info in entries(tmp_path))[0] == new
    for features, expected in zip(
        sets(banked), without_bank(grown, Counting().eval()), strict=True
    ):
        # a matrix product rounds differently at another batch size
        torch.testing.assert_close(features.inputs, expected)


def test_features_do_not_depend_on_what_else_was_missing(tmp_path: Path) -> None:
    stream, other = make_stream(), make_stream([[0, 7], [5, 2, 3, 4], [1, 6]])
    backbone = create_backbone("conv4", stream.info.input_shape, frozen=True)
    alone = banked_stream(stream, backbone, folder=tmp_path / "a", batch_size=32)
    banked_stream(other, backbone, folder=tmp_path / "b", batch_size=32)
    after = banked_stream(stream, backbone, folder=tmp_path / "b", batch_size=32)
    assert len(entries(tmp_path / "b")) == 2
    for a, b in zip(sets(alone), sets(after), strict=True):
        assert a.inputs.equal(b.inputs)


@pytest.mark.parametrize(
    "other",
    [
        {"dtype": "bfloat16"},
        {"batch_size": 7},
        {"weights_key": "others"},
        {"backbone": Counting(seed=1)},
    ],
)
def test_another_recipe_makes_another_entry(
    stream: Stream, tmp_path: Path, other: dict[str, Any]
) -> None:
    recipe: dict[str, Any] = {"backbone": Counting(), "folder": tmp_path, "batch_size": 10}
    banked_stream(stream, **recipe)
    banked_stream(stream, **{**recipe, **other})
    assert len(entries(tmp_path)) == 2


def test_another_transform_makes_another_entry(stream: Stream, tmp_path: Path) -> None:
    first = banked_stream(stream, Counting(), folder=tmp_path)
    second = banked_stream(
        with_transform(stream, ToFloat((0.5,), (0.5,))), Counting(), folder=tmp_path
    )
    assert len(entries(tmp_path)) == 2
    assert first.info.preprocessing != second.info.preprocessing
    assert first.info.fingerprint != second.info.fingerprint


def test_transforms_of_one_name_are_told_apart_by_what_they_do(
    stream: Stream, tmp_path: Path
) -> None:
    for factor in (1.0, 2.0):
        view = Nameless(lambda x, factor=factor: x.float() * factor)
        banked_stream(with_transform(stream, view), Counting(), folder=tmp_path)
    assert len(entries(tmp_path)) == 2


def test_another_version_of_the_code_makes_another_entry(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    banked_stream(stream, Counting(), folder=tmp_path)
    monkeypatch.setattr(compute, "BANK_VERSION", -1)
    banked_stream(stream, Counting(), folder=tmp_path)
    assert len(entries(tmp_path)) == 2


@pytest.mark.parametrize("name", [FEATURES, META])
def test_a_damaged_entry_is_computed_again(stream: Stream, tmp_path: Path, name: str) -> None:
    good = banked_stream(stream, Counting(), folder=tmp_path)
    file = tmp_path / entries(tmp_path)[0].name / name
    file.write_bytes(file.read_bytes()[:-9])
    backbone = Counting()
    again = banked_stream(stream, backbone, folder=tmp_path)
    assert backbone.num_runs > 0
    assert again.train[0].inputs.equal(good.train[0].inputs)  # type: ignore[attr-defined]
    assert len(entries(tmp_path)) == 1


def test_an_interrupted_build_leaves_no_entry_and_the_next_one_succeeds(
    stream: Stream, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        banked_stream(stream, Counting(), folder=tmp_path, batch_size=4, on_progress=interrupt)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    banked_stream(stream, Counting(), folder=tmp_path, batch_size=4)
    assert len(entries(tmp_path)) == 1


PROCESS = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from helpers.tiny_streams import make_stream
from cl_suite.features import bank
from cl_suite.features import bank_store
from cl_suite.models.backbones import create_backbone
import contextlib, torch
if {unlocked}:
    bank.building = lambda folder, key: contextlib.nullcontext()
torch.manual_seed(0)
stream = make_stream()
backbone = create_backbone("conv4", stream.info.input_shape, frozen=True)
print("ready", flush=True)
sys.stdin.readline()
runs = []
backbone.register_forward_hook(lambda *_: runs.append(1))
banked = bank.banked_stream(stream, backbone, folder=Path({folder!r}), batch_size=2)
print(len(runs) > 0, banked.info.fingerprint, banked.train[0].inputs.sum().item())
"""


@pytest.mark.parametrize("unlocked", [False, True])
def test_two_processes_may_build_the_same_bank_at_once(tmp_path: Path, unlocked: bool) -> None:
    tests = str(Path(__file__).resolve().parents[1])
    program = PROCESS.format(tests=tests, folder=str(tmp_path), unlocked=unlocked)
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    built, *result = zip(*(out.split() for out, _ in outcomes), strict=True)
    assert all(len(set(values)) == 1 for values in result)
    assert len(entries(tmp_path)) == 1
    assert not list(tmp_path.glob(".*.part"))
    if not unlocked and sys.platform != "win32":
        assert sorted(built) == ["False", "True"]


class Nameless:
    """A transform whose name does not tell what it does."""

    batched = True

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)
