"""Reads wav recordings: the Free Spoken Digit Dataset, or any folder of class folders.

If the folder, or its `recordings/`, holds files `<digit>_<speaker>_<take>.wav` as in the published
data set (CC BY-SA 4.0, github.com/Jakobovski/free-spoken-digit-dataset), the names give the
classes. Any other folder must hold one folder of wav files a class. There the speaker is the part
of the file name before the first underscore, as in Speech Commands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from cl_suite.data.cut import check_choice
from cl_suite.data.pool import Pool
from cl_suite.data.readers.image_folder import Findings
from cl_suite.data.readers.sound_split import SPLITS, Recording, Split, held_out
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
from cl_suite.errors import UserError, suggestion

Features = Literal["log_mel", "waveform"]
FEATURES: tuple[Features, ...] = ("log_mel", "waveform")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAMING = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<take>\d+)\.wav", re.IGNORECASE | re.ASCII)
RATES: dict[Features, int] = {"log_mel": 8_000, "waveform": 16_000}  # in Hz


@dataclass
class _Counts:
    """Counts of resampled, mixed and cut recordings, for the notes."""

    resampled: Counter[int] = field(default_factory=Counter)
    mixed: int = 0
    cut: int = 0

    def notes(self, rate: int, seconds: float) -> tuple[str, ...]:
        found = []
        if self.resampled:
            rates = ", ".join(f"{rate} Hz" for rate in sorted(self.resampled))
            found.append(
                f"resampled {_recordings(self.resampled.total())} from {rates} to {rate} Hz"
            )
        if self.mixed:
            found.append(f"mixed {_recordings(self.mixed)} of several channels down to one")
        if self.cut:
            found.append(f"cut {_recordings(self.cut)} to the loudest {seconds:g} s")
        return tuple(found)


def read(
    root: str,
    *,
    features: Features = "log_mel",
    split: Split = "take",
    test_fraction: float = 0.2,
    test_speakers: Sequence[str] | None = None,
    seed: int = 0,
    seconds: float = 1.0,
    augment: bool = True,
    skip_unreadable: bool = False,
    classes: Sequence[str] | None = None,
) -> Pool:
    """Return all recordings as 16-bit waveforms `(1, length)` of one length, in memory.

    Several channels are averaged and other sample rates resampled. Longer sounds are cut to their
    loudest part; shorter sounds are padded with silence on both sides.

    Args:
        features: "log_mel" makes maps `(1, mels, frames)` from 8 kHz, "waveform" returns
            standardised waveforms `(1, length)` at 16 kHz.
        split, test_fraction, test_speakers, seed: see `held_out`.
        seconds: length of every waveform.
        augment: add random shifts, noise and, for maps, masks to the training sounds.
        skip_unreadable: leave out files that cannot be read, instead of stopping at the first.
        classes: class names to read; None for all.

    Raises:
        UserError: if a parameter, the folder or a file cannot be used.
    """
    check_choice("features", features, FEATURES)
    check_choice("split", split, SPLITS)
    if not 0.05 <= seconds <= 60:
        raise UserError(f"seconds must lie between 0.05 and 60, got {seconds}")
    recordings, findings = find_recordings(root)
    if classes is not None:
        recordings = _listed(recordings, classes, findings)
    names = tuple(dict.fromkeys(recording.class_name for recording in recordings))
    rate, counts = RATES[features], _Counts()
    recordings, waveforms = _load(
        recordings, rate, seconds, counts, findings if skip_unreadable else None
    )
    test = held_out(recordings, split, test_fraction, test_speakers, seed)
    train = [row for row in range(len(recordings)) if row not in test]
    _check_both(recordings, names, train, test, split)
    targets = [names.index(recording.class_name) for recording in recordings]
    everything = TensorSamples(waveforms, targets)
    train_transform, eval_transform = _transforms(features, rate, augment)
    return Pool(
        train=everything.select(train),
        test=everything.select(sorted(test)),
        class_names=names,
        train_transform=train_transform,
        eval_transform=eval_transform,
        notes=(*findings.notes(), *counts.notes(rate, seconds)),
        modality="audio",
    )


def find_recordings(root: str) -> tuple[list[Recording], Findings]:
    """Return the wav files of a folder, class by class in natural order, and the skipped entries.

    Digits are named by words, `zero` to `nine`. A symbolic link that leads out of the folder is
    skipped.

    Raises:
        UserError: if the folder does not exist or has no wav file in the expected place.
    """
    folder = Path(root).expanduser()
    layout = "it must hold files <digit>_<speaker>_<take>.wav, or one folder of wav files a class"
    if not root or not folder.is_dir():
        raise UserError(f"root '{root}' is not a folder; {layout}")
    findings = Findings()
    for place in (folder, folder / "recordings"):
        if place.is_dir() and any(NAMING.fullmatch(path.name) for path in place.iterdir()):
            return _digits(place, findings), findings
    recordings: list[Recording] = []
    for entry in _entries(folder, folder, findings):
        if entry.is_dir():
            found = _class_folder(entry, folder, findings)
            recordings += found
            if not found:
                findings.skip("a class folder without wav files", entry.name)
        else:
            findings.skip("not in a class folder", entry.name)
    if not recordings:
        raise UserError(f"root '{root}' has no wav files in class folders; {layout}")
    return recordings, findings


def _digits(folder: Path, findings: Findings) -> list[Recording]:
    recordings = []
    for path in _entries(folder, folder, findings):
        if NAMING.fullmatch(path.name) and path.is_file():
            recordings.append(_recording(path, ""))
        else:
            findings.skip("not named <digit>_<speaker>_<take>.wav", path.name)
    # by number: take 10 follows take 9
    return sorted(
        recordings, key=lambda one: (DIGITS.index(one.class_name), one.speaker or "", one.take or 0)
    )


def _class_folder(folder: Path, top: Path, findings: Findings) -> list[Recording]:
    name = DIGITS[int(folder.name)] if re.fullmatch("[0-9]", folder.name) else folder.name
    recordings = []
    for path in _entries(folder, top, findings):
        if path.is_dir():
            findings.skip("a folder within a class folder", path.relative_to(top).as_posix())
        elif path.suffix.lower() != ".wav":
            findings.skip("not a wav file", path.relative_to(top).as_posix())
        else:
            recordings.append(_recording(path, name))
    return recordings


def _entries(folder: Path, top: Path, findings: Findings) -> list[Path]:
    """Return a folder's entries by name; hidden entries and links out of `top` are skipped."""
    entries = []
    for entry in sorted(folder.iterdir()):
        name = entry.relative_to(top).as_posix()
        if entry.name.startswith("."):
            findings.skip("hidden", name)
        elif not entry.resolve().is_relative_to(top.resolve()):
            findings.skip("leads out of the folder", name)
        else:
            entries.append(entry)
    return entries


def _recording(path: Path, class_name: str) -> Recording:
    if match := NAMING.fullmatch(path.name):
        name = class_name or DIGITS[int(match["digit"])]
        return Recording(path, name, match["speaker"], int(match["take"]))
    speaker, found, _ = path.stem.partition("_")
    return Recording(path, class_name, speaker if found and speaker else None, None)


def _listed(
    recordings: Sequence[Recording], classes: Sequence[str], findings: Findings
) -> list[Recording]:
    known = dict.fromkeys(one.class_name for one in recordings)
    for name in classes:
        if classes.count(name) > 1:
            raise UserError(f"class_order names '{name}' twice; name each class once")
        if name not in known:
            raise UserError(
                f"class_order names '{name}', which has no recordings{suggestion(name, known)}"
            )
    for name in known:
        if name not in classes:
            findings.skip("not in class_order", name)
    return [one for one in recordings if one.class_name in classes]


def _load(
    recordings: Sequence[Recording],
    rate: int,
    seconds: float,
    counts: _Counts,
    findings: Findings | None,
) -> tuple[list[Recording], torch.Tensor]:
    """Return the readable recordings and their waveforms `(num, 1, length)`, int16.

    Args:
        findings: records unreadable files; None to stop at the first.
    """
    length = round(seconds * rate)
    kept, waveforms = [], []
    for recording in recordings:
        try:
            sound = read_wav(recording.path)
        except UserError as error:
            if findings is None:
                raise UserError(f"{error}; or pass --scenario.skip_unreadable true") from error
            findings.skip("unreadable recording", recording.path.name)
            continue
        samples = resample(sound.mono(), sound.rate, rate)
        counts.resampled.update([sound.rate] * (sound.rate != rate))
        counts.mixed += sound.samples.shape[1] > 1
        counts.cut += len(samples) > length
        kept.append(recording)
        waveforms.append(as_pcm(fit(samples, length)))
    if not kept:
        raise UserError("no recording can be read; use a folder with undamaged wav files")
    return kept, torch.from_numpy(np.stack(waveforms))[:, None]


def _check_both(
    recordings: Sequence[Recording],
    names: Sequence[str],
    train: Sequence[int],
    test: set[int],
    split: Split,
) -> None:
    """Raise `UserError` if a class has no training recording or no test recording."""
    for purpose, rows in (("learn from", train), ("be tested on", test)):
        present = {recordings[row].class_name for row in rows}
        for name in names:
            if name not in present:
                raise UserError(
                    f"class '{name}' has no recording to {purpose} in the split by {split}; add "
                    "some, or change --scenario.split or --scenario.test_fraction"
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


def _recordings(num: int) -> str:
    return f"{num} recording{'s' * (num != 1)}"
