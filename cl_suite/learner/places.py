"""Files that a user names, found without torch, whose import takes seconds."""

from __future__ import annotations

import glob
from pathlib import Path

from cl_suite.data.readers.class_folders import ENDINGS
from cl_suite.errors import UserError, nearest, option


def picture_files(place: str | Path) -> list[Path]:
    """Return the file of that name, or the pictures of a folder or of a glob pattern, sorted.

    Raises:
        UserError: if there is none.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        inside = sorted(
            p
            for p in path.rglob("*")
            if p.suffix.lower() in ENDINGS and p.is_file() and not _is_hidden(p, path)
        )
        if not inside:
            raise UserError(f"folder '{place}' has no pictures ({' '.join(ENDINGS)}); name another")
        return inside
    if path.exists():
        return [path]
    if not glob.has_magic(str(place)):
        raise UserError(f"picture '{place}' does not exist; check the path")
    matched = sorted(glob.glob(str(path), recursive=True))
    if not matched:
        raise UserError(f"no file matches '{place}'; check the pattern")
    return [file for match in matched for file in picture_files(match)]


def check_classifier_file(path: Path) -> None:
    """Raise `UserError` if a classifier file does not exist."""
    if path.exists():
        return
    there = {p.stem: p.name for p in path.parent.glob("*.clm")}
    if (near := nearest(path.stem, there)) is not None:
        raise UserError(f"classifier file '{path}' does not exist; did you mean '{there[near]}'?")
    raise UserError(
        f"classifier file '{path}' does not exist; make one by `cl-suite learn {path} "
        "--from PHOTOS` or `--from-run RUN`"
    )


def check_new(path: Path) -> None:
    """Raise `UserError` if a classifier file exists."""
    if path.exists():
        raise UserError(
            f"classifier file '{path}' exists already; choose another name, or replace it by "
            f"{option('overwrite')}; to teach it, name a label and pictures instead of a start"
        )


def _is_hidden(path: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(top).parts)
