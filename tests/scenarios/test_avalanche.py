from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.samples import TensorSamples
from cl_suite.data.transforms import Identity, ToFloat
from cl_suite.errors import UserError
from cl_suite.scenarios.avalanche import AvalancheBenchmark

HERE = __name__
SESSIONS = ([4, 1], [0, 3])


class Rows:
    """A raw data set: tensors or pictures, and `targets` as Avalanche wants them."""

    def __init__(self, classes: list[int], *, pictures: bool = False, ragged: bool = False) -> None:
        self.targets = [c for c in classes for _ in range(3)]
        self.pictures = pictures
        self.ragged = ragged

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        target = self.targets[index]
        size = 6 + index if self.ragged else 6
        if self.pictures:
            pixels = np.full((size, 5, 3), 10 * target + index, dtype=np.uint8)
            return Image.fromarray(pixels), target
        return torch.full((1, size, 5), 10.0 * target + index), target


def double(x: Tensor) -> Tensor:
    return 2 * x


def negate(x: Tensor) -> Tensor:
    return -x


def make(
    *,
    train: Any = None,
    evaluate: Any = None,
    one_test_set: bool = False,
    sessions: Any = SESSIONS,
    **rows: Any,
) -> Any:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.benchmarks.utils.transform_groups import TransformGroups

    def wrap(classes: list[int]) -> Any:
        groups = TransformGroups({"train": (train, None), "eval": (evaluate, None)})
        return as_classification_dataset(Rows(classes, **rows), transform_groups=groups)

    tests = [sorted({c for s in sessions for c in s})] if one_test_set else sessions
    return benchmark_from_datasets(
        train=[wrap(classes) for classes in sessions], test=[wrap(classes) for classes in tests]
    )


def build(**arguments: Any) -> Any:
    return AvalancheBenchmark(factory=f"{HERE}.make", arguments=arguments).build()


def no_benchmark() -> int:
    return 3


def test_each_experience_is_a_session_with_the_same_class_ids() -> None:
    stream = build()
    assert stream.info.session_classes == ((1, 4), (0, 3))
    assert stream.info.class_names == ("0", "1", "2", "3", "4")
    assert [len(s) for s in (*stream.train, *stream.test)] == [6, 6, 6, 6]
    assert (stream.info.way, stream.info.shots) == (2, None)


def test_raw_tensors_are_kept_with_their_labels() -> None:
    samples = build().train[0]
    assert samples.targets == [4, 4, 4, 1, 1, 1]
    assert samples[3][0].unique().item() == 13


def test_sessions_own_their_data_alone() -> None:
    for samples in build().train:
        assert isinstance(samples, TensorSamples)
        assert samples.inputs.untyped_storage().nbytes() == samples.inputs.numel() * 4


def test_a_benchmark_without_transforms_is_handed_on_batch_by_batch() -> None:
    assert build().info.train_transform == Identity()


def test_its_train_and_eval_transforms_go_on_working() -> None:
    stream = build(train=double, evaluate=negate)
    x = stream.train[0][0][0]
    assert torch.equal(stream.info.train_transform(x), 2 * x)
    assert torch.equal(stream.info.eval_transform(x), -x)
    assert stream.info.notes == ()


def test_pictures_are_kept_as_bytes_and_given_back_to_the_transforms() -> None:
    to_tensor = v2.Compose([v2.RandomCrop(4), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    stream = build(pictures=True, train=to_tensor, evaluate=to_tensor)
    assert stream.train[0][0][0].dtype == torch.uint8
    assert stream.train[0][0][0].shape == (3, 6, 5)
    assert stream.info.input_shape == (3, 4, 4)
    value = stream.info.eval_transform(stream.train[0][0][0])
    assert value.unique().item() == pytest.approx(40 / 255)


def test_pictures_without_transforms_are_scaled() -> None:
    assert build(pictures=True).info.eval_transform == ToFloat()


def test_unequal_samples_are_those_of_the_eval_transform_and_it_is_said() -> None:
    cut = v2.CenterCrop(5)
    stream = build(ragged=True, train=cut, evaluate=cut)
    assert stream.info.input_shape == (1, 5, 5)
    assert "training transforms could not be reused" in stream.info.notes[0]


def test_a_single_test_set_is_divided_by_class() -> None:
    stream = build(one_test_set=True)
    assert [sorted(set(s.targets)) for s in stream.test] == [[1, 4], [0, 3]]


def test_the_same_benchmark_gives_the_same_fingerprint() -> None:
    assert build().info.fingerprint == build().info.fingerprint


def test_preprocessing_names_no_memory_address() -> None:
    assert "0x" not in build(train=double, evaluate=negate).info.preprocessing


def test_a_class_in_two_experiences_is_refused() -> None:
    with pytest.raises(UserError, match=r"class 1 .* experience 1; use a class-incremental bench"):
        build(sessions=([4, 1], [1, 3]))


def test_ragged_samples_without_transform_are_refused() -> None:
    with pytest.raises(UserError, match="evaluation samples are not tensors of one shape; add"):
        build(ragged=True)


@pytest.mark.parametrize(
    "factory", ["avalanche.benchmarks.NoSuch", "nowhere.Benchmark", "word", "", "a..b"]
)
def test_a_factory_that_cannot_be_imported_is_named(factory: str) -> None:
    with pytest.raises(UserError, match=f"avalanche factory '{factory}' cannot be imported"):
        AvalancheBenchmark(factory=factory).build()


def test_wrong_arguments_are_said() -> None:
    with pytest.raises(UserError, match=r"cannot make a benchmark with the arguments .*'colour'"):
        AvalancheBenchmark(factory=f"{HERE}.make_strict", arguments={"colour": 1}).build()


def make_strict() -> Any:
    return make()


def test_what_is_no_benchmark_is_refused() -> None:
    with pytest.raises(UserError, match=r"returned a int, not an Avalanche benchmark"):
        AvalancheBenchmark(factory=f"{HERE}.no_benchmark").build()


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be called; name a function"):
        AvalancheBenchmark(factory=f"{HERE}.SESSIONS").build()


def test_importing_the_scenarios_does_not_import_avalanche() -> None:
    code = (
        "import sys, cl_suite.scenarios.avalanche, cl_suite.scenarios.omniglot, "
        "cl_suite.scenarios.fscil, cl_suite.scenarios.image_folder, "
        "cl_suite.scenarios.class_incremental; sys.exit('avalanche' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def uneven(num_experiences: int) -> Any:
    from avalanche.benchmarks import class_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset

    rows = as_classification_dataset(Rows(list(range(10))))
    return class_incremental_benchmark(
        {"train": rows, "test": rows}, num_experiences=num_experiences
    )


def test_classes_that_avalanche_leaves_out_are_counted() -> None:
    stream = AvalancheBenchmark(factory=f"{HERE}.uneven", arguments={"num_experiences": 3}).build()
    assert sum(map(len, stream.info.session_classes)) == 9
    assert "has 10 classes, its 3 sessions have 9: Avalanche leaves out" in stream.info.notes[-1]


def test_a_benchmark_with_all_classes_has_no_such_note() -> None:
    factory = f"{HERE}.uneven"
    stream = AvalancheBenchmark(factory=factory, arguments={"num_experiences": 5}).build()
    assert stream.info.notes == ()


FAR = """
import resource
import sys

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from torch.utils.data import TensorDataset


def make(top):
    def part(seed):
        sessions = []
        for classes in ([0, 1], [top - 1, top]):
            images = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
            data = TensorDataset(images, torch.tensor(classes * 4))
            data.targets = classes * 4
            sessions.append(as_classification_dataset(data))
        return sessions

    return benchmark_from_datasets(train=part(0), test=part(1))


if __name__ == "__main__":
    from cl_suite.cli import main

    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_grows_with_the_classes_that_there_are_not_with_the_largest_id(
    tmp_path: Path,
) -> None:
    (tmp_path / "far.py").write_text(FAR)
    command = ["far.py", "run", "avalanche", "finetune", "--scenario.factory", "far.make"]
    command += ["--model.backbone", "identity", "--training.base_epochs", "1", "--device", "cpu"]
    sizes = []
    for top in (3, 60_001):
        # a matrix of all pairs of ids would take 29 GB
        done = subprocess.run(
            [sys.executable, *command, f"--scenario.arguments={{top: {top}}}", "--out", str(top)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / str(top) / "avalanche/finetune/seed0"
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [record["seen_classes"] for record in metrics] == [2, 4]
        sizes.append(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
    small, far = sizes
    assert far < small + 2_000_000  # a name of each id below the largest
