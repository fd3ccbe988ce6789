"""Exemplars in encoded form: nothing is lost or shared, and damage is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_streams import make_stream
from PIL import Image
from torch import Tensor

from cl_suite.avalanche import api, benchmark
from cl_suite.avalanche.loader import TensorLoader, batches
from cl_suite.data.samples import FileSamples, Samples, TensorSamples, read_image
from cl_suite.data.transforms import Compose, Identity, RandomAffine, ResizeCenterCrop, ToFloat
from cl_suite.errors import UserError
from cl_suite.methods.replay.encoded import EncodedSamples, encode_tensor
from cl_suite.methods.replay.exemplars import Exemplars
from cl_suite.requirements import BatchLayout
from cl_suite.storage import checkpoint

TRAIN = Compose((ToFloat(), RandomAffine()))


def data_of(samples: Samples, train: Any = TRAIN, evaluation: Any = None) -> Any:
    return api.dataset(samples, train, evaluation or ToFloat(), range(len(samples)))


def images(num: int = 6, channels: int = 3, size: int = 8) -> TensorSamples:
    generator = torch.Generator().manual_seed(channels)
    pixels = torch.randint(0, 256, (num, channels, size, size), generator=generator)
    return TensorSamples(pixels.to(torch.uint8), [10 + i % 3 for i in range(num)])


def features(num: int = 4, dtype: torch.dtype = torch.float32) -> TensorSamples:
    values = torch.randn(num, 5, generator=torch.Generator().manual_seed(0))
    return TensorSamples((100 * values).to(dtype), list(range(num)))


def kept(samples: Samples, rows: list[int], **extras: Tensor) -> Exemplars:
    exemplars = Exemplars()
    exemplars.append(data_of(samples), rows, extras or None)
    return exemplars


@pytest.fixture
def files(tmp_path: Path) -> FileSamples:
    paths = []
    for i, name in enumerate(("a.png", "b.jpg", "c.jpg")):
        rng = np.random.default_rng(i)
        pixels = rng.integers(0, 256, (8 + i, 9, 3), dtype=np.uint8)
        paths.append(tmp_path / name)
        Image.fromarray(pixels).save(paths[-1])
    return FileSamples(paths, [3, 4, 3], tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_images_are_png_and_come_back_to_the_last_bit(channels: int) -> None:
    samples = images(channels=channels)
    for i in range(len(samples)):
        item = encode_tensor(samples.inputs[i], 7)
        assert bytes(item.payload[:4].tolist()) == b"\x89PNG"
        assert item.decode().equal(samples.inputs[i])
        assert item.target == 7


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool],
)
def test_other_tensors_are_their_own_bytes(dtype: torch.dtype) -> None:
    sample = features(dtype=dtype).inputs[1]
    item = encode_tensor(sample, 0)
    assert len(item.payload) == sample.nbytes
    assert item.decode().dtype == dtype
    assert item.decode().equal(sample)


@pytest.mark.parametrize("shape", [(2, 4, 4), (5,), (), (3, 0, 4)])
def test_8_bit_tensors_that_are_no_image_are_their_own_bytes(shape: tuple[int, ...]) -> None:
    sample = torch.randint(0, 256, shape).to(torch.uint8)
    item = encode_tensor(sample, 0)
    assert item.form.kind == "raw"
    assert item.decode().equal(sample)


def test_a_plain_image_takes_fewer_bytes_than_its_pixels() -> None:
    blank = TensorSamples(torch.full((2, 3, 32, 32), 9, dtype=torch.uint8), [0, 1])
    assert kept(blank, [0, 1]).num_bytes < blank.num_bytes() / 10


def test_an_image_file_is_kept_as_it_is(files: FileSamples) -> None:
    exemplars = kept(files, [2, 0])
    assert exemplars.num_bytes == files.num_bytes([2, 0])
    assert exemplars.targets == [3, 3]
    files.paths[2].rename(files.paths[2].with_suffix(".gone"))  # it owns its data
    pixels, _, _ = exemplars.batch([0], "eval")
    assert pixels[0].equal(ToFloat()(read_image(files.paths[2].with_suffix(".gone"))))


def test_what_is_kept_shares_no_memory_with_the_data() -> None:
    for samples in (images(), features()):
        exemplars, before = kept(samples, [1, 3]), samples.inputs.clone()
        samples.inputs.zero_()
        item = encode_tensor(before[1], 0)
        assert exemplars.state_dict()["payload"][: len(item.payload)].equal(item.payload)
        assert item.payload.untyped_storage().nbytes() == len(item.payload)


def test_a_decoded_sample_is_not_the_memory_that_is_kept() -> None:
    item = encode_tensor(torch.ones(3), 0)
    item.decode().zero_()
    assert item.decode().tolist() == [1, 1, 1]


def test_bytes_are_those_of_samples_and_extras() -> None:
    exemplars = kept(features(), [0, 1, 2], logits=torch.zeros(3, 7), old=torch.ones(3).bool())
    assert exemplars.num_bytes == 3 * (5 * 4 + 7 * 4 + 1)
    assert exemplars.sample_bytes(1) == 49


def test_the_data_set_has_the_original_transforms_and_the_fast_path() -> None:
    samples = images()
    data, exemplars = data_of(samples), kept(samples, [4, 0])
    made = exemplars.dataset()
    loader = batches(made.eval(), 8)
    assert isinstance(loader, TensorLoader)
    [[pixels, labels]] = list(loader)
    assert pixels.equal(torch.stack([data.eval()[i][0] for i in (4, 0)]))
    assert labels.tolist() == [11, 10]
    torch.manual_seed(0)
    augmented = next(iter(batches(made.train(), 8)))[0]
    torch.manual_seed(0)
    assert augmented.equal(TRAIN(samples.inputs[[4, 0]]))
    assert api.sample_ids(made) == [-1, -1]


def test_joined_with_a_session_they_are_still_sliced_from_tensors() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    exemplars = Exemplars()
    exemplars.append(data, [3, 5])
    joined = data.train().concat(exemplars.dataset().train())
    layout = BatchLayout(views=2, plain=True, rows=True)
    assert isinstance(batches(joined, 8, layout=layout), TensorLoader)
    assert joined[len(data) + 1][1] == data[5][1]
    assert joined.eval()[len(data) + 1][0].equal(data.eval()[5][0])


def test_images_of_several_sizes_are_decoded_one_by_one(files: FileSamples) -> None:
    fit = Compose((ResizeCenterCrop(8, 8), ToFloat()))
    for samples in (files, EncodedSamples([encode_tensor(files[i][0], 1) for i in range(3)])):
        data = data_of(samples, fit, fit)
        exemplars = Exemplars()
        exemplars.append(data, [0, 1, 2])
        batch = next(iter(batches(exemplars.dataset().eval(), 3)))
        assert batch[0].equal(torch.stack([data[i][0] for i in range(3)]))
        assert exemplars.batch([0, 1, 2])[0].equal(batch[0])


def test_a_batch_has_inputs_labels_and_extras_of_its_samples() -> None:
    exemplars = kept(features(), [3, 1, 2], logits=torch.arange(6.0).view(3, 2))
    torch.testing.assert_close(
        exemplars.batch(torch.tensor([2, 0]), "eval")[0], ToFloat()(features().inputs[[2, 3]])
    )
    _, labels, extras = exemplars.batch([2, 0])
    assert labels.tolist() == [2, 3]
    assert labels.dtype == torch.int64
    assert extras["logits"].tolist() == [[4, 5], [0, 1]]


def test_random_transforms_draw_from_the_global_generator() -> None:
    exemplars = kept(images(), [0, 1])
    torch.manual_seed(3)
    first = exemplars.batch([0, 1])[0]
    assert not exemplars.batch([0, 1])[0].equal(first)
    torch.manual_seed(3)
    assert exemplars.batch([0, 1])[0].equal(first)


def test_replacing_changes_one_slot() -> None:
    exemplars = kept(features(), [0, 1, 2], number=torch.arange(3))
    exemplars.replace(1, data_of(features()), 3, {"number": torch.tensor(9)})
    _, labels, extras = exemplars.batch([0, 1, 2], "eval")
    assert labels.tolist() == [0, 3, 2]
    assert extras["number"].tolist() == [0, 9, 2]
    with pytest.raises(ValueError, match="slot 3 does not exist; there are 3"):
        exemplars.replace(3, data_of(features()), 0, {"number": torch.tensor(0)})


def test_extras_of_some_samples_are_replaced() -> None:
    exemplars = kept(features(), [0, 1, 2], logits=torch.zeros(3, 2))
    exemplars.set_extras([2, 0], {"logits": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
    assert exemplars.batch(range(3))[2]["logits"].tolist() == [[3, 4], [0, 0], [1, 2]]
    with pytest.raises(ValueError, match="no extra 'task'"):
        exemplars.set_extras([0], {"task": torch.zeros(1)})
    with pytest.raises(ValueError, match="shape"):
        exemplars.set_extras([0], {"logits": torch.zeros(1, 3)})


def test_keeping_drops_the_others_and_orders() -> None:
    exemplars = kept(features(), [0, 1, 2], number=torch.arange(3))
    exemplars.keep([2, 0])
    assert exemplars.targets == [2, 0]
    assert exemplars.batch([0, 1])[2]["number"].tolist() == [2, 0]
    assert exemplars.num_bytes == 2 * (20 + 8)


def test_extras_that_do_not_fit_are_refused() -> None:
    exemplars = kept(features(), [0], logits=torch.zeros(1, 3))
    data = data_of(features())
    with pytest.raises(ValueError, match=r"shape \(1, 4\) instead of \(1, 3\)"):
        exemplars.append(data, [1], {"logits": torch.zeros(1, 4)})
    with pytest.raises(ValueError, match=r"have the extras \['logits'\], the new ones \[\]"):
        exemplars.append(data, [1])
    with pytest.raises(ValueError, match=r"shape \(1, 3\) instead of \(2, 3\)"):
        exemplars.append(data, [1, 2], {"logits": torch.zeros(1, 3)})
    assert len(exemplars) == 1


def test_rows_are_found_through_subsets_and_concatenations() -> None:
    data = data_of(images())
    nested = data.subset([5, 3, 1]).concat(data.subset([0, 2])).subset([4, 0])
    exemplars = Exemplars()
    exemplars.append(nested, [0, 1])
    assert exemplars.batch([0, 1], "eval")[0].equal(ToFloat()(images().inputs[[2, 5]]))


def test_exemplars_of_exemplars_are_equal() -> None:
    first = kept(images(), [0, 1])
    second = Exemplars()
    second.append(first.dataset(), [1])
    assert second.batch([0], "eval")[0].equal(first.batch([1], "eval")[0])


def foreign_dataset(transform: Any) -> Any:
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.benchmarks.utils.transform_groups import TransformGroups

    groups = TransformGroups({"train": (lambda x: x - 100, None), "eval": (transform, None)})
    return as_classification_dataset(features(), transform_groups=groups)


def test_of_foreign_data_the_evaluations_samples_are_kept() -> None:
    data = foreign_dataset(lambda x: 2 * x)
    exemplars = Exemplars()
    exemplars.append(data, [1, 2])
    for group in ("train", "eval"):
        inputs, labels, _ = exemplars.batch([0, 1], group)  # type: ignore[arg-type]
        assert inputs.equal(2 * features().inputs[1:3])
        assert labels.tolist() == [1, 2]
    joined = data.train().concat(exemplars.dataset().train())
    assert joined[len(data)][0].equal(2 * features().inputs[1])


def test_foreign_samples_that_are_no_tensors_are_refused() -> None:
    data = foreign_dataset(lambda x: x.tolist())
    with pytest.raises(UserError, match="samples are of type list, which cannot be kept"):
        Exemplars().append(data, [0])


def saved_and_loaded(exemplars: Exemplars, folder: Path) -> Exemplars:
    path = folder / "state.safetensors"
    checkpoint.save(path, exemplars.state_dict())
    loaded = Exemplars()
    loaded.load_state_dict(checkpoint.load(path))
    return loaded


def test_a_checkpoint_gives_back_the_same_samples(tmp_path: Path, files: FileSamples) -> None:
    for samples in (images(), images(channels=1), features(), files):
        exemplars = kept(samples, [2, 0], logits=torch.randn(2, 3))
        loaded = saved_and_loaded(exemplars, tmp_path)
        loaded.bind(data_of(samples))
        for i in range(2):
            found, expected = loaded.batch([i], "eval"), exemplars.batch([i], "eval")
            assert found[0].equal(expected[0])
            assert found[1].equal(expected[1])
            assert found[2]["logits"].equal(expected[2]["logits"])
        assert loaded.num_bytes == exemplars.num_bytes


def test_no_samples_can_be_saved_too(tmp_path: Path) -> None:
    assert len(saved_and_loaded(Exemplars(), tmp_path)) == 0
    assert len(Exemplars().dataset()) == 0


def test_after_a_restore_transforms_must_be_given(tmp_path: Path) -> None:
    loaded = saved_and_loaded(kept(images(), [0]), tmp_path)
    with pytest.raises(ValueError, match="no transforms yet"):
        loaded.batch([0])
    loaded.bind(data_of(images()))
    assert loaded.batch([0])[0].shape == (1, 3, 8, 8)


def test_other_transforms_than_those_in_use_are_refused() -> None:
    exemplars = kept(images(), [0])
    exemplars.bind(data_of(images(), Compose((ToFloat(), RandomAffine()))))  # equal ones do
    with pytest.raises(UserError, match="use the same transforms in all sessions"):
        exemplars.append(data_of(images(), Identity()), [1])


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        kept(images(), [0]).batch([])


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("payload", torch.zeros(5, dtype=torch.uint8), "offsets do not match"),
        ("payload", torch.zeros(40), "'payload' is not a vector of torch.uint8"),
        ("offsets", torch.tensor([0, 20]), "2 class ids, 2 forms and 2 offsets"),
        ("offsets", torch.tensor([0, 50, 40]), "offsets do not match"),
        ("offsets", torch.tensor([0, 19, 40]), "19 bytes for a sample of 20"),
        ("form_of", torch.tensor([0, 1]), "a form number beyond the 1 forms"),
        ("forms", [["zip", "float32", [5]]], "is not a sample form"),
        ("forms", [["raw", "complex64", [5]]], "is not a sample form"),
        ("forms", [["raw", "float32", [-5]]], "is not a sample form"),
        ("forms", [["raw"]], "is not a sample form"),
        ("forms", [["png", "uint8", [1, 4, 4]]], "not a PNG"),
        ("targets", torch.tensor([0, 1, 2]), "3 class ids"),
        ("extras", {"logits": torch.zeros(1, 2)}, "extra 'logits' is not one value for each of 2"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(key: str, value: Any, reason: str) -> None:
    state = kept(features(), [0, 1]).state_dict()
    with pytest.raises(UserError, match=f"cannot be restored .*{reason}.*start the run again"):
        Exemplars().load_state_dict({**state, key: value})


def test_a_state_without_a_part_is_refused() -> None:
    state = kept(features(), [0]).state_dict()
    del state["offsets"]
    with pytest.raises(UserError, match="'offsets' is missing"):
        Exemplars().load_state_dict(state)


def test_a_kept_image_whose_bytes_are_damaged_is_told_in_a_sentence() -> None:
    from io import BytesIO

    with pytest.raises(UserError, match="a stored image cannot be read"):
        read_image(BytesIO(b"no image"))
