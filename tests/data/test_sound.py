"""Wav files and transforms of sounds: exact scaling, one length, bad files, views."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_sounds import tone, write_wav
from scipy.io import wavfile
from torch import Tensor

from cl_suite.data.readers.wav import as_pcm, fit, read_wav, resample
from cl_suite.data.sound_transforms import (
    AddNoise,
    FrequencyMask,
    LogMel,
    Standardise,
    TimeMask,
    TimeShift,
    ToWaveform,
    mel_filters,
)
from cl_suite.data.transforms import Compose, Transform
from cl_suite.errors import UserError

WAVES: list[Transform] = [
    ToWaveform(),
    Standardise(),
    TimeShift(0.2),
    AddNoise(),
    LogMel(8000, num_mels=20),
    Compose((ToWaveform(), TimeShift(), AddNoise(), LogMel(8000, num_mels=20), TimeMask(4))),
]
MAPS: list[Transform] = [TimeMask(6), FrequencyMask(6)]
RANDOM: list[Transform] = [TimeShift(0.2), AddNoise(), TimeMask(6), FrequencyMask(6)]


def name(transform: Transform) -> str:
    return type(transform).__name__


def inputs_of(transform: Transform, num: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (20, 30) if transform in MAPS else (1600,)
    return torch.randn(num, 1, *shape, generator=generator) * 0.1


# reading


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 128, 192], np.uint8),
        ([-32768, 0, 16384], np.int16),
        ([-(2**31), 0, 2**30], np.int32),
        ([-1.0, 0.0, 0.5], np.float32),
        ([-1.0, 0.0, 0.5], np.float64),
    ],
)
def test_every_width_is_scaled_to_one(tmp_path: Path, values: list[float], dtype: type) -> None:
    wavfile.write(tmp_path / "a.wav", 8000, np.array(values, dtype=dtype))
    sound = read_wav(tmp_path / "a.wav")
    assert sound.rate == 8000
    assert sound.samples.tolist() == [[-1.0], [0.0], [0.5]]


def test_24_bits_are_scaled_to_one(tmp_path: Path) -> None:
    frames = b"".join(struct.pack("<i", v)[:3] for v in (-(2**23), 0, 2**22))
    header = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 8000, 24000, 3, 24, b"data", 9)
    body = b"WAVE" + header + frames
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert read_wav(tmp_path / "a.wav").samples[:, 0].tolist() == [-1.0, 0.0, 0.5]


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.array([[16384, 0], [-16384, -16384]], dtype=np.int16)
    wavfile.write(tmp_path / "a.wav", 8000, stereo)
    assert read_wav(tmp_path / "a.wav").mono()[0].tolist() == [0.25, -0.5]


def spoiled(tmp_path: Path, kind: str) -> Path:
    path = write_wav(tmp_path / "a.wav", tone(440))
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"this is no sound",
            "cut in the sound": content[:300],
            "cut in the header": content[:30],
            "no samples": content[:40] + struct.pack("<I", 0),
            "no rate": content[:24] + struct.pack("<II", 0, 0) + content[32:],
            "a rate beyond use": content[:24] + struct.pack("<II", 2**30, 2**31) + content[32:],
            "unknown coding": content[:20] + struct.pack("<H", 77) + content[22:],
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "it is empty"),
        ("text", "it is not a wav file"),
        ("cut in the sound", "it ends after 256 of 1600 bytes of sound"),
        ("cut in the header", "it ends before its sound begins"),
        ("no samples", "it holds no sound"),
        ("no rate", "0 samples a second"),
        ("a rate beyond use", "1073741824 samples a second"),
        ("unknown coding", "[Uu]nknown wave file format"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, kind: str, reason: str) -> None:
    path = spoiled(tmp_path, kind)
    with pytest.raises(UserError, match=rf"'{path}' cannot be read \(.*{reason}.*\); replace"):
        read_wav(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 8000, np.array([0.1, np.nan], dtype=np.float32))
    with pytest.raises(UserError, match="not finite"):
        read_wav(tmp_path / "a.wav")


def test_damage_anywhere_in_the_header_is_refused_or_read_never_a_crash(tmp_path: Path) -> None:
    content = bytearray(write_wav(tmp_path / "a.wav", tone(440, seconds=0.01)).read_bytes())
    path = tmp_path / "b.wav"
    num_refused = 0
    for position in range(44):
        for value in (0, 1, 127, 255):
            damaged = bytearray(content)
            damaged[position] = value
            path.write_bytes(damaged)
            try:
                read_wav(path)
            except UserError:
                num_refused += 1
    assert 50 < num_refused < 44 * 4


def test_chunks_without_sound_are_passed_over_silently(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    content = write_wav(tmp_path / "a.wav", tone(440)).read_bytes()
    extra = b"note" + struct.pack("<I", 3) + b"abc\0"  # chunks begin at even places
    (tmp_path / "b.wav").write_bytes(content[:36] + extra + content[36:])
    assert np.array_equal(
        read_wav(tmp_path / "b.wav").samples, read_wav(tmp_path / "a.wav").samples
    )
    assert not recwarn.list


# one length and rate


def test_resampling_keeps_the_tone() -> None:
    fast = tone(440, seconds=0.5, rate=44_100)
    slow = resample(fast, 44_100, 8000)
    assert len(slow) == 4000
    spectrum = np.abs(np.fft.rfft(slow))
    assert spectrum.argmax() == 220  # 440 Hz in steps of 2 Hz


def test_the_same_rate_changes_nothing() -> None:
    samples = tone(440)
    assert resample(samples, 8000, 8000) is samples


def test_a_long_sound_is_cut_to_its_loudest_part() -> None:
    samples = np.zeros(1000, dtype=np.float32)
    samples[600:700] = 0.5
    samples[100] = -0.9
    assert fit(samples, 100).tolist() == [0.5] * 100


def test_a_short_sound_stands_in_the_middle() -> None:
    assert fit(np.ones(3, dtype=np.float32), 6).tolist() == [0, 1, 1, 1, 0, 0]


def test_sixteen_bits_come_back_exactly_and_are_clipped() -> None:
    whole = torch.tensor([[-32768, -1, 0, 12345, 32767]], dtype=torch.int16)
    floats = ToWaveform()(whole)
    assert as_pcm(floats.numpy()).tolist() == whole.tolist()
    assert as_pcm(np.array([-3.0, 3.0], dtype=np.float32)).tolist() == [-32768, 32767]


# transforms


@pytest.mark.parametrize("transform", [*WAVES, *MAPS], ids=name)
def test_a_single_sound_has_a_batchs_shape_without_its_first(transform: Transform) -> None:
    sounds = inputs_of(transform)
    assert transform.batched
    assert transform(sounds).shape[1:] == transform(sounds[0]).shape
    assert len(transform(sounds)) == len(sounds)


@pytest.mark.parametrize("transform", [*WAVES, *MAPS], ids=name)
def test_the_same_seed_gives_the_same_bits_and_leaves_the_input(transform: Transform) -> None:
    sounds = inputs_of(transform)
    before = sounds.clone()
    torch.manual_seed(3)
    first = transform(sounds)
    torch.manual_seed(3)
    assert first.equal(transform(sounds))
    assert sounds.equal(before)


@pytest.mark.parametrize("transform", RANDOM, ids=name)
def test_each_sound_of_a_batch_has_its_own_draw(transform: Transform) -> None:
    torch.manual_seed(0)
    same = transform(inputs_of(transform, 1).expand(6, *[-1] * (3 if transform in MAPS else 2)))
    assert any(not torch.equal(same[0], other) for other in same[1:])


@pytest.mark.parametrize("transform", [*WAVES, *MAPS], ids=name)
def test_two_equal_transforms_have_equal_words(transform: Transform) -> None:
    # the words identify a transform in fingerprints and banks, so they must rebuild it
    assert eval(repr(transform)) == transform  # a text of our own class


@pytest.mark.parametrize(("rate", "num_mels"), [(8000, 20), (8000, 40), (16_000, 40)])
def test_the_mel_filters_are_those_of_transformers(rate: int, num_mels: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(129, num_mels, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    assert np.abs(mel_filters(rate, 129, num_mels).numpy() - expected).max() < 1e-6


def test_log_mel_is_the_naive_formula() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    samples = tone(700, seconds=0.3)
    bank = mel_filter_bank(129, 20, 0.0, 4000.0, 8000, norm=None, mel_scale="htk")
    expected = spectrogram(
        samples,
        window_function(256, "hann"),
        frame_length=256,
        hop_length=128,
        power=2.0,
        pad_mode="constant",
        mel_filters=bank,
        log_mel="dB",
        db_range=60.0,
    )
    expected = (expected - expected.mean()) / expected.std()
    found = LogMel(8000, num_mels=20)(torch.from_numpy(samples)[None])[0].numpy()
    assert found.shape == expected.shape == (20, 19)
    assert np.abs(found - expected).max() < 1e-3  # the library computes in float64


def test_a_log_mel_map_shows_where_the_tone_lies() -> None:
    maps = LogMel(8000)(torch.stack([torch.from_numpy(tone(f))[None] for f in (300, 1200, 3000)]))
    middle = maps[:, 0, :, 4].argmax(dim=1)
    corners = 700 * (10 ** (torch.linspace(0, 2146.06, 42) / 2595) - 1)
    centres = corners[1:-1][middle]
    assert ((centres / torch.tensor([300, 1200, 3000]) - 1).abs() < 0.1).all()


def test_loudness_drops_out_of_a_log_mel_map() -> None:
    sound = torch.from_numpy(tone(440))[None]
    assert torch.allclose(LogMel(8000)(sound), LogMel(8000)(sound * 0.1), atol=1e-3)


@pytest.mark.parametrize("transform", [LogMel(8000), Standardise(), AddNoise()], ids=name)
def test_silence_gives_zeros(transform: Transform) -> None:
    assert transform(torch.zeros(2, 1, 800)).abs().max() == 0


def test_a_map_does_not_depend_on_its_neighbours() -> None:
    sounds = inputs_of(LogMel(8000))
    alone = torch.stack([LogMel(8000)(sound) for sound in sounds])
    assert torch.allclose(LogMel(8000)(sounds), alone, atol=1e-5)


def test_a_standardised_waveform_has_mean_zero_and_variance_one() -> None:
    found = Standardise()(inputs_of(Standardise()) + 0.3)
    assert torch.allclose(found.mean(-1), torch.zeros(6, 1), atol=1e-5)
    assert torch.allclose(found.var(-1, correction=0), torch.ones(6, 1), atol=1e-3)


def test_a_shift_moves_by_at_most_the_asked_share_and_fills_with_silence() -> None:
    torch.manual_seed(0)
    sounds = torch.zeros(500, 1, 100)
    sounds[:, :, 50] = 1
    places = TimeShift(0.1)(sounds).squeeze(1).argmax(dim=1)
    assert (places.min(), places.max()) == (40, 60)
    assert TimeShift(0.1)(torch.ones(50, 1, 100)).amin() == 0


def test_a_shift_of_nothing_changes_nothing() -> None:
    sounds = inputs_of(TimeShift())
    assert TimeShift(0.0)(sounds).equal(sounds)


def test_noise_has_the_drawn_ratio_to_the_sound() -> None:
    torch.manual_seed(0)
    sounds = torch.sin(torch.arange(8000.0) / 5).expand(50, 1, -1)
    noise = AddNoise(20.0, 20.0)(sounds) - sounds
    ratio = 10 * (sounds.square().mean(-1) / noise.square().mean(-1)).log10()
    assert (ratio - 20).abs().max() < 0.5  # 8,000 draws


@pytest.mark.parametrize(("mask", "dim"), [(TimeMask(6, 1), 3), (FrequencyMask(6, 1), 2)], ids=str)
def test_one_mask_hides_one_span_of_up_to_its_width(mask: Transform, dim: int) -> None:
    torch.manual_seed(0)
    masked = mask(torch.ones(400, 1, 20, 30))
    other = 5 - dim
    assert masked.amin(dim=other).equal(masked.amax(dim=other))  # whole rows or columns
    hidden = masked.amax(dim=other).squeeze(1) == 0  # (400, size)
    widths = hidden.sum(dim=1)
    assert (widths.min(), widths.max()) == (0, 6)
    starts = hidden & ~torch.nn.functional.pad(hidden, (1, 0))[:, :-1]
    assert (starts.sum(dim=1) <= 1).all()
    assert hidden.any(dim=0).all()  # no place is spared


def test_a_mask_wider_than_the_map_stays_within_it() -> None:
    assert TimeMask(99, 3)(torch.ones(4, 1, 5, 6)).shape == (4, 1, 5, 6)
