"""Sounds that a careless reader turns into silence or noise, and copies of sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_sounds import tone, write_wav, write_words
from numpy.typing import NDArray
from scipy.io import wavfile

from cl_suite.data.readers import sound
from cl_suite.data.readers.wav import as_pcm, read_wav
from cl_suite.data.samples import TensorSamples
from cl_suite.data.sound_transforms import LogMel, ToWaveform
from cl_suite.errors import UserError

SOUND = tone(440).astype(np.float64)


def save(path: Path, samples: NDArray[Any], rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, samples)
    return path


def log_mel(samples: NDArray[Any]) -> torch.Tensor:
    """Return the map that a network sees of samples in [-1, 1]."""
    waveform = torch.from_numpy(as_pcm(samples.astype(np.float32)))[None]
    return LogMel(8000)(ToWaveform()(waveform))


EXPECTED = log_mel(SOUND)


@pytest.mark.parametrize(
    ("samples", "gain"),
    [
        ((SOUND * 1e-5).astype(np.float32), "raised"),
        (SOUND * 1e-30, "raised"),
        ((SOUND * 1e-300), "raised"),
        (np.rint(SOUND * 32767).astype(np.int32), "raised"),
        (np.rint(SOUND * 32767).astype(np.float32), "lowered"),
        (SOUND * 1e300, "lowered"),
    ],
    ids=["quiet", "quieter", "quietest", "int32 of 16 bits", "floats of 16 bits", "loudest"],
)
def test_a_sound_of_any_loudness_gives_the_map_of_the_plain_one(
    tmp_path: Path, samples: NDArray[Any], gain: str
) -> None:
    found = read_wav(save(tmp_path / "a.wav", samples))
    assert (found.gain > 1) == (gain == "raised")
    channel, _ = found.mono()
    assert 0.25 < np.abs(channel).max() <= 1
    assert (log_mel(channel) - EXPECTED).abs().max() < 0.05


def test_a_quiet_sound_that_16_bits_hold_exactly_keeps_its_bits(tmp_path: Path) -> None:
    quiet = np.array([3, -2, 0, 1], dtype=np.int16)
    for dtype, scale in ((np.int16, 1), (np.int32, 65_536), (np.float32, 1 / 32_768)):
        found = read_wav(save(tmp_path / "a.wav", (quiet.astype(np.float64) * scale).astype(dtype)))
        assert found.gain == 1
        assert as_pcm(found.mono()[0]).tolist() == quiet.tolist()


def test_channels_that_cancel_each_other_leave_the_loudest(tmp_path: Path) -> None:
    both = np.stack([0.5 * SOUND, -0.5 * SOUND], axis=1)
    channel, cancelled = read_wav(save(tmp_path / "a.wav", both.astype(np.float32))).mono()
    assert cancelled
    assert np.abs(channel - 0.5 * SOUND).max() < 1e-6
    both[:, 1] *= 1.01
    channel, cancelled = read_wav(save(tmp_path / "a.wav", both.astype(np.float32))).mono()
    assert cancelled
    assert np.abs(channel + 0.505 * SOUND).max() < 1e-6


@pytest.mark.parametrize("channels", [2, 6])
def test_other_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    generator = np.random.default_rng(0)
    unrelated = generator.normal(0, 0.1, (800, channels)).astype(np.float32)
    alone = np.zeros_like(unrelated)
    alone[:, -1] = unrelated[:, -1]
    for samples in (unrelated, alone):
        channel, cancelled = read_wav(save(tmp_path / "a.wav", samples)).mono()
        assert not cancelled
        assert np.array_equal(channel, samples.mean(axis=1))


def words(root: Path) -> Path:
    return write_words(root, ("bed", "cat"), files=4)


def notes_of(root: Path, **parameters: Any) -> str:
    return "\n".join(sound.read(str(root), seconds=0.1, **parameters).notes)


def test_what_was_changed_is_named(tmp_path: Path) -> None:
    words(tmp_path)
    opposite = np.stack([tone(440, seed=7), -tone(440, seed=7)], axis=1)
    save(tmp_path / "bed" / "opposite.wav", opposite)
    save(tmp_path / "bed" / "quiet.wav", tone(440, seed=8) * np.float32(1e-5))
    save(tmp_path / "cat" / "loud.wav", tone(900, seed=9) * np.float32(30_000))
    save(tmp_path / "cat" / "nothing.wav", np.zeros(800, dtype=np.int16))
    high = np.sin(2 * np.pi * 15_000 * np.arange(4410) / 44_100).astype(np.float32)
    save(tmp_path / "cat" / "high.wav", high, 44_100)
    notes = notes_of(tmp_path)
    assert "used the loudest channel of 1 recording (bed/opposite.wav): the channels" in notes
    assert "amplified 1 recording (bed/quiet.wav), too quiet for 16 bits" in notes
    assert "scaled down 1 recording (cat/loud.wav) with floats beyond [-1, 1]" in notes
    assert "found silence in 1 recording (cat/nothing.wav)" in notes
    assert "lost the sound of 1 recording (cat/high.wav): nothing of it is below 4000 Hz" in notes


def test_plain_recordings_get_no_note(tmp_path: Path) -> None:
    assert notes_of(words(tmp_path)) == ""


def contents(samples: TensorSamples) -> set[bytes]:
    return {samples.inputs[row].numpy().tobytes() for row in range(len(samples))}


@pytest.mark.parametrize("seed", range(4))
def test_no_copy_of_a_learned_sound_is_tested(tmp_path: Path, seed: int) -> None:
    for number, word in enumerate(("bed", "cat")):
        for index in range(15):
            copy = tone(400 + 500 * number, seed=index // 3)
            write_wav(tmp_path / word / f"{index:02d}.wav", copy)
    pool = sound.read(str(tmp_path), seconds=0.1, seed=seed, test_fraction=0.4)
    assert isinstance(pool.train, TensorSamples)
    assert isinstance(pool.test, TensorSamples)
    assert not contents(pool.train) & contents(pool.test)
    assert "20 recordings are copies of others in the same class (bed/00.wav = bed/01.wav" in (
        "\n".join(pool.notes)
    )


def test_copies_of_sounds_can_be_dropped_or_refused(tmp_path: Path) -> None:
    words(tmp_path)
    write_wav(tmp_path / "cat" / "9.wav", tone(400, seed=0))  # bed/0.wav
    pool = sound.read(str(tmp_path), seconds=0.1, duplicates="drop")
    assert len(pool.train) + len(pool.test) == 8
    with pytest.raises(UserError, match=r"1 recording is a copy .*\(bed/0.wav = cat/9.wav\)"):
        sound.read(str(tmp_path), seconds=0.1, duplicates="refuse")


def test_folders_named_by_numbers_come_by_value_and_may_be_listed_as_numbers(
    tmp_path: Path,
) -> None:
    write_words(tmp_path, ("100", "20", "31"), files=4)
    assert sound.read(str(tmp_path), seconds=0.1).class_names == ("20", "31", "100")
    chosen = sound.read(str(tmp_path), seconds=0.1, classes=[100, 31])
    assert set(chosen.class_names) == {"100", "31"}
