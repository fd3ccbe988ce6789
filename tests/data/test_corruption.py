from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_layouts import write_image
from torch import Tensor, nn

from cl_suite.data.corruption import SNR, CorruptedFiles, corrupted
from cl_suite.data.samples import FileSamples, TensorSamples, relabelled
from cl_suite.data.shifts import shifted
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Compose, ResizeCenterCrop, ToFloat
from cl_suite.errors import UserError
from cl_suite.features.bank import banked_stream


def images(num: int = 4) -> TensorSamples:
    pixels = torch.randint(60, 200, (num, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    return TensorSamples(pixels.to(torch.uint8), range(num))


@pytest.fixture
def files(tmp_path: Path) -> FileSamples:
    """Three images of several sizes."""
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        write_image(path, 40 * i + 40, (12 + 4 * i, 16))
    return FileSamples(paths, [5, 6, 7], tmp_path)


def sound(scale: float = 1.0) -> Tensor:
    time = torch.arange(8000) / 8000
    return (scale * 8000 * torch.sin(2 * torch.pi * 440 * time)).to(torch.int16)[None, None]


@pytest.mark.parametrize("kind", ["noise", "blur", "low_contrast", "invert"])
def test_images_change_as_a_shift_does_and_labels_stay(kind: str) -> None:
    clean = images()
    changed = corrupted(clean, kind, [3])  # type: ignore[arg-type]  # of the list above
    assert isinstance(changed, TensorSamples)
    assert changed.inputs.equal(shifted(clean.inputs, kind, [3]))
    assert not changed.inputs.equal(clean.inputs)
    assert changed.targets == clean.targets


def test_noise_of_a_sound_is_ten_decibels_below_it() -> None:
    for scale in (1.0, 0.1):
        clean = sound(scale)
        noisy = corrupted(TensorSamples(clean, [0]), "noise", [0])[0][0]
        noise = (noisy - clean[0]).float()
        ratio = 10 * (clean.float().square().mean() / noise.square().mean()).log10()
        assert ratio.item() == pytest.approx(SNR, abs=0.3)


def test_silence_stays_silent() -> None:
    silent = TensorSamples(torch.zeros(1, 1, 100, dtype=torch.int16), [0])
    assert not corrupted(silent, "noise", [0])[0][0].any()


def test_a_seed_draws_the_noise() -> None:
    first, again, other = (corrupted(images(), "noise", [seed])[2][0] for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(UserError, match=r"^corruption of sounds must be noise or none, got 'blur'"):
        corrupted(TensorSamples(sound(), [0]), "blur", [0])
    with pytest.raises(UserError, match=r"^corruption needs images in 8 bits"):
        corrupted(TensorSamples(torch.zeros(1, 7), [0]), "noise", [0])


# files


def test_a_file_is_corrupted_alike_at_each_access(files: FileSamples) -> None:
    changed = corrupted(files, "noise", [0])
    assert isinstance(changed, CorruptedFiles)
    assert [changed[row][0].shape for row in range(3)] == [files[row][0].shape for row in range(3)]
    assert changed[1][0].equal(changed[1][0])
    assert not changed[1][0].equal(files[1][0])
    assert [changed[row][1] for row in range(3)] == changed.targets == [5, 6, 7]


def test_a_selection_keeps_each_files_noise_and_label(files: FileSamples) -> None:
    changed = corrupted(files, "noise", [0])
    chosen = relabelled(changed, [7, 6, 5]).select([2, 0])
    assert len(chosen) == 2
    assert chosen.targets == [5, 7]
    assert chosen[0][0].equal(changed[2][0])
    assert chosen.num_bytes() == files.num_bytes([2, 0])


def test_a_digest_tells_kinds_seeds_and_labels_apart(files: FileSamples) -> None:
    made = [
        corrupted(files, "noise", [0]),
        corrupted(files, "noise", [1]),
        corrupted(files, "blur", [0]),
        relabelled(corrupted(files, "noise", [0]), [6, 6, 7]),
        files,
    ]
    assert len({samples.digest(0) for samples in made}) == 5
    assert made[0].digest(0) == corrupted(files, "noise", [0]).digest(0)


def test_the_bank_does_not_take_a_clean_files_features(files: FileSamples, tmp_path: Path) -> None:
    def banked(train: FileSamples | CorruptedFiles) -> Stream:
        view = Compose((ResizeCenterCrop(8, 8), ToFloat((0.5,) * 3, (0.5,) * 3)))
        stream = build_stream(
            name="files",
            class_names=[str(c) for c in range(8)],
            session_classes=[(5, 6, 7)],
            train=[train],
            test=[files],
            train_transform=view,
            eval_transform=view,
        )
        return banked_stream(stream, nn.Flatten(), folder=tmp_path / "bank")

    clean = banked(files).train[0]
    changed = banked(CorruptedFiles(files, "invert", [0])).train[0]
    # inverting turns the sign of a centred pixel
    assert torch.allclose(changed[0][0], -clean[0][0], atol=1e-2)
