"""Finds wav recordings: the Free Spoken Digit Dataset, or any folder of class folders.

If the folder, or its `recordings/`, holds files `<digit>_<speaker>_<take>.wav` as in the published
data set (CC BY-SA 4.0, github.com/Jakobovski/free-spoken-digit-dataset), the names give the
classes. Any other folder must hold one folder of wav files a class. There the speaker is the part
of the file name before the first underscore, as in Speech Commands, whose folder of noises is left
out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cl_suite.data.readers.class_folders import Findings, entries_of, note_same_folders
from cl_suite.data.readers.names import as_text, natural
from cl_suite.data.readers.sound_split import Recording
from cl_suite.errors import UserError, suggestion

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NOISES = "_background_noise_"  # Speech Commands: minutes of noise, no word
NAMING = re.compile(r"(?P<digit>\d)_(?P<speaker>.+)_(?P<take>\d+)\.wav", re.IGNORECASE | re.ASCII)


def find_recordings(root: str) -> tuple[list[Recording], Findings]:
    """Return the wav files of a folder, class by class in natural order, and the skipped entries.

    Digits are named by words, `zero` to `nine`. Symbolic links are followed.

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
    places: list[Path] = []
    for entry in _by_value(_entries(folder, folder, findings)):
        if entry.name == NOISES:
            findings.skip("noises, which are no word", entry.name)
        elif entry.is_dir():
            if found := _class_folder(entry, folder, findings):
                recordings += found
                places.append(entry)
            else:
                findings.skip("a class folder without wav files", entry.name)
        else:
            findings.skip("not in a class folder", entry.name)
    if not recordings:
        raise UserError(f"root '{root}' has no wav files in class folders; {layout}")
    note_same_folders(places, findings)
    return recordings, findings


def _by_value(entries: list[Path]) -> list[Path]:
    """Return the entries by number if all class folders are numbers, else as they are."""
    if all(entry.name.isdecimal() for entry in entries if entry.is_dir()):
        return sorted(entries, key=lambda entry: natural(entry.name))
    return entries


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
    """Return a folder's entries by name; hidden entries are skipped."""
    entries = []
    for entry in entries_of(folder, top, findings):
        if entry.name.startswith("."):
            findings.skip("hidden", entry.relative_to(top).as_posix())
        else:
            entries.append(entry)
    return entries


def _recording(path: Path, class_name: str) -> Recording:
    if match := NAMING.fullmatch(path.name):
        name = class_name or DIGITS[int(match["digit"])]
        return Recording(path, name, match["speaker"], int(match["take"]))
    speaker, found, _ = path.stem.partition("_")
    return Recording(path, class_name, speaker if found and speaker else None, None)


def name_of(recording: Recording) -> str:
    """Return a recording's name for a note."""
    path = recording.path
    return path.name if NAMING.fullmatch(path.name) else f"{path.parent.name}/{path.name}"


def keep_listed(
    recordings: Sequence[Recording], given: Sequence[object], findings: Findings
) -> list[Recording]:
    """Return the recordings of the listed classes; raise `UserError` for an unknown class."""
    known = dict.fromkeys(one.class_name for one in recordings)
    classes = as_text("class_order", given, known)
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
