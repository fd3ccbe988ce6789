"""Reads wav recordings as waveforms of one length, divided into training and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cl_suite.data.copies import Duplicates, groups_of_copies, without_copies
from cl_suite.data.pool import Pool
from cl_suite.data.readers.class_folders import Findings
from cl_suite.data.readers.recordings import find_recordings, keep_listed, name_of
from cl_suite.data.readers.sound_notes import Changes
from cl_suite.data.readers.sound_split import Recording, Split, held_out
from cl_suite.data.readers.wav import as_pcm, fit, read_wav, resample
from cl_suite.data.samples import TensorSamples
from cl_suite.data.sound_transforms import (
    AddNoise,
    FrequencyMask,
    LogMel,
    Standardise,
    TimeMask,
    TimeShift,
    ToWaveform,
)
from cl_suite.data.transforms import Compose, Transform
from cl_suite.errors import UserError, option

Features = Literal["log_mel", "waveform"]

RATES: dict[Features, int] = {"log_mel": 8_000, "waveform": 16_000}  # in Hz


@dataclass(frozen=True)
class SoundPool(Pool):
    """A pool that knows the recording of each of its training and test samples."""

    learnt: tuple[Recording, ...] = field(default=(), repr=False)
    tested: tuple[Recording, ...] = field(default=(), repr=False)


def read(
    root: str,
    *,
    features: Features = "log_mel",
    split: Split = "take",
    test_fraction: float = 0.2,
    test_speakers: Sequence[object] | None = None,
    seed: int = 0,
    seconds: float = 1.0,
    augment: bool = True,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "keep",
    classes: Sequence[object] | None = None,
) -> SoundPool:
    """Return all recordings as 16-bit waveforms `(1, length)` of one length, in memory.

    Several channels are averaged (if they cancel each other, the loudest is used) and other sample
    rates resampled. Longer sounds are cut to their loudest part; shorter sounds are padded with
    silence on both sides. Sounds too quiet for 16 bits are amplified first.

    Args:
        features: "log_mel" makes maps `(1, mels, frames)` from 8 kHz, "waveform" returns
            standardised waveforms `(1, length)` at 16 kHz.
        split, test_fraction, test_speakers, seed: see `held_out`.
        seconds: length of every waveform.
        augment: add random shifts, noise and, for maps, masks to the training sounds.
        skip_unreadable: leave out files that cannot be read, instead of stopping at the first.
        duplicates: what to do with the same sound under several names, see `without_copies`; all
            copies are on the side of the first.
        classes: class names to read; None for all.

    Raises:
        UserError: if a parameter, the folder or a file cannot be used.
    """
    recordings, findings = find_recordings(root)
    if classes is not None:
        recordings = keep_listed(recordings, classes, findings)
    rate, changes = RATES[features], Changes()
    wanted = dict.fromkeys(recording.class_name for recording in recordings)
    recordings, waveforms = _load(
        recordings, rate, seconds, changes, findings if skip_unreadable else None
    )
    keys = [hashlib.sha256(waveform.tobytes()).digest() for waveform in waveforms]
    rows, copies = without_copies(
        keys,
        [name_of(recording) for recording in recordings],
        [recording.class_name for recording in recordings],
        duplicates,
        thing="recording",
    )
    readable = {recording.class_name for recording in recordings}
    recordings, keys = [recordings[row] for row in rows], [keys[row] for row in rows]
    left = {recording.class_name for recording in recordings}
    for name in (name for name in wanted if name in readable - left):
        findings.skip("a class with copies alone", name)
    names = tuple(name for name in wanted if name not in readable - left)
    test = held_out(recordings, split, test_fraction, test_speakers, seed)
    groups = groups_of_copies(keys)
    for group in groups:
        test = test | {*group} if group[0] in test else test - {*group}
    train = [row for row in range(len(recordings)) if row not in test]
    _check_both(recordings, names, train, test, split, copies=bool(groups))
    targets = [names.index(recording.class_name) for recording in recordings]
    everything = TensorSamples(
        torch.from_numpy(np.stack([waveforms[row] for row in rows]))[:, None], targets
    )
    train_transform, eval_transform = _transforms(features, rate, augment)
    return SoundPool(
        train=everything.select(train),
        test=everything.select(sorted(test)),
        class_names=names,
        train_transform=train_transform,
        eval_transform=eval_transform,
        notes=(*findings.notes(), *changes.notes(rate, seconds), *copies),
        modality="audio",
        learnt=tuple(recordings[row] for row in train),
        tested=tuple(recordings[row] for row in sorted(test)),
    )


def _load(
    recordings: Sequence[Recording],
    rate: int,
    seconds: float,
    changes: Changes,
    findings: Findings | None,
) -> tuple[list[Recording], list[NDArray[np.int16]]]:
    """Return the readable recordings and their waveforms `(length,)`.

    Args:
        changes: records what reading changes.
        findings: records unreadable files; None to stop at the first.
    """
    length = round(seconds * rate)
    kept, waveforms = [], []
    for recording in recordings:
        name = name_of(recording)
        try:
            sound = read_wav(recording.path)
        except UserError as error:
            if findings is None:
                hint = f"or pass {option('scenario.skip_unreadable', 'true')}"
                raise UserError(f"{error}; {hint}") from error
            findings.skip("unreadable recording", name)
            continue
        channel, cancelled = sound.mono()
        samples = resample(channel, sound.rate, rate)
        changes.resampled.update([sound.rate] * (sound.rate != rate))
        changes.cut += len(samples) > length
        changes.add(name, sound, cancelled)
        pcm = as_pcm(fit(samples, length))
        changes.check_left(name, sound, samples, pcm)
        kept.append(recording)
        waveforms.append(pcm)
    if not kept:
        raise UserError("no recording can be read; use a folder with undamaged wav files")
    return kept, waveforms


def _check_both(
    recordings: Sequence[Recording],
    names: Sequence[str],
    train: Sequence[int],
    test: set[int],
    split: Split,
    *,
    copies: bool,
) -> None:
    """Raise `UserError` if a class has no training recording or no test recording."""
    for purpose, rows in (("learn from", train), ("be tested on", test)):
        present = {recordings[row].class_name for row in rows}
        for name in names:
            if name not in present:
                dropping = f", or pass {option('scenario.duplicates', 'drop')}, as there are copies"
                raise UserError(
                    f"class '{name}' has no recording to {purpose} in the split by {split}; add "
                    f"some, or change {option('scenario.split')} or "
                    f"{option('scenario.test_fraction')}{dropping if copies else ''}"
                )


def _transforms(features: Features, rate: int, augment: bool) -> tuple[Transform, Transform]:
    """Return the training and the evaluation transform."""
    views: tuple[Transform, ...] = (TimeShift(), AddNoise()) if augment else ()
    if features == "waveform":
        return Compose((ToWaveform(), *views, Standardise())), Compose(
            (ToWaveform(), Standardise())
        )
    masks: tuple[Transform, ...] = (FrequencyMask(), TimeMask()) if augment else ()
    maps = LogMel(rate)
    return Compose((ToWaveform(), *views, maps, *masks)), Compose((ToWaveform(), maps))
