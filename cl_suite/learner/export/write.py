"""`export`: builds an ONNX file, compares it with PyTorch, and only then writes it."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from cl_suite.errors import UserError
from cl_suite.learner.export.assemble import Assembled, assembled
from cl_suite.learner.export.check import checked, pictures_to_check
from cl_suite.learner.export.frozen import Frozen, Source, frozen
from cl_suite.learner.export.growing import classes_file, classes_path, packed, row_difference
from cl_suite.learner.export.head import row_arrays
from cl_suite.learner.export.report import Check, Exported
from cl_suite.storage.files import atomic_write, make_folder

ENDING = ".onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# of a probability, and of a familiarity in shares of its range, on equally prepared pictures: how
# much a rounded pixel changes depends on the classifier, not on the export
TOLERANCE, HALF_TOLERANCE = 0.01, 0.05
PREPARED_TOLERANCE = 0.02  # of a prepared pixel, in shares of their range: five levels of 255
ROW_TOLERANCE = 1e-4  # of a key, relative to its length


def export(
    learner: Source,
    path: Path,
    *,
    half: bool = False,
    growing: bool = False,
    pictures: Any = None,
) -> Exported:
    """Write a classifier as ONNX, after ONNX Runtime gave PyTorch's answers on real pictures.

    Args:
        learner: a `Learner`; it stays as it is.
        path: the file, `NAME.onnx`.
        half: compute the backbone in float16; the file has half the size.
        growing: take the rows of the classes as inputs, and write them to `NAME.classes.npz`, so
            that a device can add a class; see `examples/edge`.
        pictures: what to compare on, see `pictures.sources`; None for the thumbnails that the
            learner keeps.

    Raises:
        UserError: if a package or a picture to compare on is missing, the learner knows no class,
            ONNX cannot express its backbone, the answers differ, or the disk refuses a file. No
            file is written then.
    """
    _check_packages()
    if path.suffix != ENDING:
        raise UserError(f"'{path}' must end in {ENDING}; name it {path.stem}{ENDING}")
    now = frozen(learner)
    shown = pictures_to_check(now, pictures)
    made = assembled(now, half=half, growing=growing)
    check = checked(now, made, row_arrays(now) if growing else {}, shown)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    classes = None
    if growing:
        classes = classes_file(now)
        check = dataclasses.replace(check, row=row_difference(now, classes, shown))
    _refuse(path, check, tolerance)
    _write(path, made.content, None if classes is None else packed(classes))
    return Exported(
        path=path,
        classes_path=classes_path(path) if growing else None,
        input=made.input,
        dtype="float16" if half else "float32",
        num_bytes=len(made.content),
        num_classes=len(now.table.labels),
        check=check,
        tolerance=tolerance,
        notes=(*made.notes, *_growing_notes(now, made, growing)),
    )


def _check_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"an export needs {' and '.join(missing)}; run `pip install 'cl-suite[export]'`"
        )


def _write(path: Path, graph: bytes, classes: bytes | None) -> None:
    make_folder(path.parent)
    if classes is None:
        atomic_write(path, graph)
        return
    beside = classes_path(path)
    old = beside.read_bytes() if beside.is_file() else None
    atomic_write(beside, classes)
    try:
        atomic_write(path, graph)
    except UserError:
        # rows without their graph are of no use
        if old is None:
            beside.unlink()
        else:
            atomic_write(beside, old)
        raise


def _refuse(path: Path, check: Check, tolerance: float) -> None:
    for what, found, most in (
        ("prepared pictures", check.prepared, PREPARED_TOLERANCE),
        ("probabilities", check.network_probabilities, tolerance),
        ("the range of familiarity", check.network_familiarity, tolerance),
        ("the keys of a new class", check.row or 0.0, ROW_TOLERANCE),
    ):
        # a comparison with nan is false
        if not found <= most:
            raise UserError(
                f"'{path}' was not written: {what} of ONNX Runtime and PyTorch differ by "
                f"{found:.2g}, more than {most:g}; export in float32, or update onnxruntime"
            )


def _growing_notes(now: Frozen, made: Assembled, growing: bool) -> tuple[str, ...]:
    if not growing:
        return ()
    notes = ["classes added on a device keep the temperature and threshold of this export"]
    if now.rule.pools_moments:
        notes.append(
            f"rule '{now.rule.name}' pools second moments, which stay those of this export: a "
            "class added on a device scores slightly otherwise than after Learner.learn"
        )
    return tuple(notes)
