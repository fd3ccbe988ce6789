"""Finds the images of a folder of class folders, and a division into `train/` and `test/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cl_suite.errors import UserError, suggestion

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
NAMED_FILES = 3  # a note names this many skipped files and counts the others
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")  # the first that is there is used
LAYOUT = "one folder of images a class"


@dataclass
class Findings:
    """The images of each class folder, and the skipped entries by reason.

    Attributes:
        images: all images, or those to learn from if the folder is divided.
        test: the images to test on; None if the folder is not divided.
        said: further sentences for the user.
    """

    images: dict[str, list[Path]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    test: dict[str, list[Path]] | None = None
    said: list[str] = field(default_factory=list)

    def skip(self, reason: str, name: str) -> None:
        """Remember that an entry was skipped."""
        self.skipped.setdefault(reason, []).append(name)

    def notes(self) -> tuple[str, ...]:
        """Return one sentence for each reason, with the first few entries, and the further ones."""
        skipped = (
            f"skipped {len(names)} {'entry' if len(names) == 1 else 'entries'}: {reason} "
            f"({named(names)})"
            for reason, names in self.skipped.items()
        )
        return (*skipped, *self.said)


def named(names: Sequence[str]) -> str:
    """Return the first few names, with dots for the others."""
    return f"{', '.join(names[:NAMED_FILES])}{', ...' if len(names) > NAMED_FILES else ''}"


def find_images(folder: Path, root: str, *, parameter: str = "root") -> Findings:
    """Return the images of each class folder, sorted by name; everything else is skipped.

    Symbolic links are followed.

    Args:
        parameter: what a message calls the folder.

    Raises:
        UserError: if the folder does not exist, or no class folder has an image.
    """
    _check_folder(folder, root, parameter)
    findings = Findings()
    findings.images = _classes(folder, folder, findings)
    if not findings.images:
        inner = next((p.parents[1].name for p in folder.glob("*/*/*") if _is_image(p)), None)
        hint = f" (or is '{Path(root) / inner}' meant?)" if inner else ""
        raise UserError(
            f"{parameter} '{root}' has no class folder with images ({' '.join(ENDINGS)}); it must "
            f"hold {LAYOUT}{hint}"
        )
    return findings


def find_both(root: str, test_root: str) -> Findings:
    """Return the images of class folders, those to test on from another folder.

    Raises:
        UserError: see `find_images`, or if a class is in the test folder alone.
    """
    findings = find_images(Path(root).expanduser(), root)
    tested = find_images(Path(test_root).expanduser(), test_root, parameter="test_root")
    for reason, names in tested.skipped.items():
        for name in names:
            findings.skip(reason, f"{test_root}/{name}")
    findings.said += tested.said
    findings.test = tested.images
    _check_learnt(findings, root, test_root)
    return findings


def find_divided(folder: Path, root: str) -> Findings:
    """Return the images of class folders, divided if the folder has a training and a test part.

    It is divided if it holds `train/` and `test/` (or `val/`), both with class folders in them.

    Raises:
        UserError: see `find_images`, or if a class is in the test part alone.
    """
    _check_folder(folder, root)
    if (parts := _parts(folder)) is None:
        return find_images(folder, root)
    train, test = parts
    findings = Findings()
    for entry in sorted(folder.iterdir()):
        if entry not in parts:
            findings.skip(f"neither {train.name}/ nor {test.name}/", entry.name)
    findings.images = _classes(train, folder, findings)
    findings.test = _classes(test, folder, findings)
    _check_learnt(findings, str(train), str(test))
    learnt, tested = (sum(map(len, part.values())) for part in (findings.images, findings.test))
    findings.said.append(
        f"{train.name}/ ({learnt} images) and {test.name}/ ({tested}) are used as the division; "
        "test_fraction has no part in it"
    )
    return findings


def keep_listed(findings: Findings, classes: Sequence[str]) -> None:
    """Leave out the classes that are not listed; raise `UserError` for one that does not exist."""
    if repeated := {name for name in classes if classes.count(name) > 1}:
        raise UserError(f"class_order names '{min(repeated)}' twice; name each class once")
    for name in classes:
        if name not in findings.images:
            raise UserError(
                f"class_order names '{name}', which is not a folder with images"
                f"{suggestion(name, findings.images)}"
            )
    for name in sorted(findings.images.keys() - set(classes)):
        findings.images.pop(name)
        (findings.test or {}).pop(name, None)
        findings.skip("not in class_order", name)


def entries_of(folder: Path, top: Path, findings: Findings) -> Iterator[Path]:
    """Yield a folder's entries by name, links included.

    A link that leads nowhere, or to a folder above (a loop), is skipped.
    """
    for entry in sorted(folder.iterdir()):
        name = entry.relative_to(top).as_posix()
        if not entry.exists():
            findings.skip("a link that leads nowhere", name)
        elif entry.is_dir() and folder.resolve().is_relative_to(entry.resolve()):
            findings.skip("a link to a folder above it", name)
        else:
            yield entry


def note_same_folders(folders: Sequence[Path], findings: Findings) -> None:
    """Say which class folders are one folder under several names."""
    first: dict[Path, str] = {}
    for folder in folders:
        name = first.setdefault(folder.resolve(), folder.name)
        if name != folder.name:
            findings.said.append(
                f"class folders '{name}' and '{folder.name}' are the same folder: one is a link to "
                "the other, so two classes have the same samples"
            )


def _check_folder(folder: Path, root: str, parameter: str = "root") -> None:
    if not root or not folder.is_dir():
        raise UserError(f"{parameter} '{root}' is not a folder; it must hold {LAYOUT}")


def _check_learnt(findings: Findings, train: str, test: str) -> None:
    if strange := sorted((findings.test or {}).keys() - findings.images.keys()):
        raise UserError(
            f"class '{strange[0]}' is in '{test}' but not in '{train}'; add images to learn from, "
            "or remove it"
        )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def _parts(folder: Path) -> tuple[Path, Path] | None:
    folders = {
        entry.name.lower(): entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if any(_has_images(folders[name]) for name in folders if name not in (*TRAIN, *TEST)):
        return None  # other class folders beside them
    divided = [name for name in folders if any(map(_has_images, _folders(folders[name])))]
    train = next((folders[name] for name in TRAIN if name in divided), None)
    test = next((folders[name] for name in TEST if name in divided), None)
    return None if train is None or test is None else (train, test)


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()]


def _has_images(folder: Path) -> bool:
    return any(map(_is_image, folder.iterdir()))


def _classes(folder: Path, top: Path, findings: Findings) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    places: list[Path] = []
    for entry in entries_of(folder, top, findings):
        name = entry.relative_to(top).as_posix()
        if not entry.is_dir():
            findings.skip("not in a class folder", name)
        elif entry.name.startswith("."):
            findings.skip("hidden folder", name)
        elif images := _images(entry, top, findings):
            found[entry.name] = images
            places.append(entry)
        else:
            findings.skip("a class folder without images", name)
    note_same_folders(places, findings)
    return found


def _images(class_folder: Path, top: Path, findings: Findings) -> list[Path]:
    images = []
    for path in entries_of(class_folder, top, findings):
        name = path.relative_to(top).as_posix()
        if path.is_dir():
            findings.skip("a folder within a class folder", name)
        elif not _is_image(path):
            findings.skip(f"no image ending ({' '.join(ENDINGS)})", name)
        else:
            images.append(path)
    return images
