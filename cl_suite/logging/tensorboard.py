"""The TensorBoard dashboard of one run: curves, matrices, prototypes, settings and a text card."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import summary

from cl_suite.engine.session import EpochRecord
from cl_suite.logging.event_file import EventFile
from cl_suite.logging.figures import accuracy_matrix_figure, confusion_figure, to_image
from cl_suite.logging.tags import Figures, epoch_figures, outcome, probe_figures, session_figures
from cl_suite.runs.folder import SessionRecord
from cl_suite.storage.files import atomic_write, write_error

HEADLINES = {"average accuracy": "Average accuracy", "last accuracy": "Last accuracy"}
PROJECTOR_FOLDER = "projector"
PROJECTOR_CONFIG = "projector_config.pbtxt"  # TensorBoard looks for this name
PROJECTOR_TEXT = f"""embeddings {{
  tensor_name: "prototypes"
  tensor_path: "{PROJECTOR_FOLDER}/prototypes.tsv"
  metadata_path: "{PROJECTOR_FOLDER}/classes.tsv"
}}
"""


class Dashboard:
    """Writes one run's event file.

    Figures of sessions have the session on the x axis, those of training the epoch, counted over
    all sessions. Undefined figures are left out.

    Args:
        folder: the run's folder; it must exist.

    Raises:
        UserError: if the disk is full; so does every method.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._writing():
            self.events = EventFile(folder)

    @classmethod
    def fresh(cls, folder: Path) -> Dashboard:
        """Return a dashboard in place of the one that an earlier start left in this folder."""
        for path in folder.glob("events.out.tfevents.*"):
            path.unlink()
        (folder / PROJECTOR_CONFIG).unlink(missing_ok=True)
        shutil.rmtree(folder / PROJECTOR_FOLDER, ignore_errors=True)
        return cls(folder)

    def card(self, name: str, text: str) -> None:
        """Show a text, in Markdown, under `run/` on the Text tab."""
        with self._writing():
            self.events.add(summary.text(f"run/{name}", text), 0)  # type: ignore[no-untyped-call]  # torch's

    def epoch(self, step: int, record: EpochRecord) -> None:
        """Show one epoch of training.

        Args:
            step: epochs done before it, over all sessions.
        """
        with self._writing():
            self._scalars(step, epoch_figures(record))

    def base_training(self, before: float | None, after: float | None, text: str) -> None:
        """Show what the base session's training did to the features.

        Args:
            before, after: accuracy of class means; they are steps 0 and 1 of one curve.
            text: the same in words.
        """
        with self._writing():
            for step, value in enumerate((before, after)):
                self._scalars(step, {"base_training/class_means": value})
            self.events.add(summary.text("base_training/verdict", text), 0)  # type: ignore[no-untyped-call]  # torch's

    def session(self, record: SessionRecord) -> None:
        """Show a session's figures."""
        with self._writing():
            self._scalars(record.session, session_figures(record))

    def matrices(
        self,
        session: int,
        accuracy: NDArray[np.float64],
        confusion: NDArray[np.int64] | None,
        class_names: Sequence[str],
        session_sizes: Sequence[int],
    ) -> None:
        """Draw the accuracy matrix and the confusion matrix, which takes longer than all the rest.

        Args:
            accuracy: of the sessions so far, `(session + 1, session + 1)`.
            confusion: images of class `i` predicted as class `j`, `(num_seen, num_seen)`, classes
                in order of arrival, or fewer rows that each hold several of them; None leaves the
                picture out.
            class_names: names of the classes seen, in the same order.
            session_sizes: number of classes of each session so far.
        """
        with self._writing():
            picture = to_image(accuracy_matrix_figure(accuracy))
            self._picture("matrix/accuracy", picture, session)
            if confusion is not None:
                in_a_row = len(class_names) / len(confusion)
                sizes = [size / in_a_row for size in session_sizes]
                picture = to_image(confusion_figure(confusion, class_names, sizes))
                self._picture("matrix/confusion", picture, session)

    def task(self, step: int, figures: Figures) -> None:
        """Show a few-shot task's figures.

        Args:
            step: tasks done before it.
            figures: by tag; NaN is left out.
        """
        with self._writing():
            self._scalars(step, figures)

    def probe(self, name: str, record: SessionRecord) -> None:
        """Show a session's accuracy under a probe, and how much the features forgot."""
        with self._writing():
            self._scalars(record.session, probe_figures(name, record))

    def margins(self, category: str, curves: Mapping[str, NDArray[np.float64]]) -> None:
        """Show curves as means with bands on the Custom Scalars tab, a chart each.

        Args:
            curves: by name, `(num_seeds, num_steps)`; a step is left out if a seed has NaN there.
        """
        charts = {
            name: ["Margin", [f"seeds/{name}{end}" for end in ("", "_lowest", "_highest")]]
            for name in curves
        }
        with self._writing():
            self.events.add(summary.custom_scalars({category: charts}))  # type: ignore[no-untyped-call]  # torch's
            for name, values in curves.items():
                tags = charts[name][1]
                for step, column in enumerate(values.T):
                    ends = (column.mean(), column.min(), column.max())
                    self._scalars(step, dict(zip(tags, map(float, ends), strict=True)))

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int = 0) -> None:
        """Show a picture, `(height, width, 3)`."""
        with self._writing():
            self._picture(name, pixels, step)

    def prototypes(
        self, matrix: NDArray[np.floating], labels: Sequence[str], sessions: Sequence[int]
    ) -> None:
        """Show prototypes in the projector; without any, do nothing.

        Args:
            matrix: one row per class, `(num_classes, dim)`.
            labels: name of each row's class.
            sessions: session of each row's class.
        """
        if not len(matrix) == len(labels) == len(sessions):
            raise ValueError(
                f"{len(matrix)} prototypes, {len(labels)} labels and {len(sessions)} sessions"
            )
        if not len(matrix):
            return  # the projector fails on a table without rows
        folder = self.folder / PROJECTOR_FOLDER
        rows = ["\t".join(f"{value:.7g}" for value in row) for row in matrix]
        names = [" ".join(label.split()) for label in labels]  # a tab would begin a new column
        cells = [f"{name}\t{session}" for name, session in zip(names, sessions, strict=True)]
        # not by `add_embedding`: it names a folder by the step, and prints when that exists
        with self._writing():
            folder.mkdir(exist_ok=True)
        atomic_write(folder / "prototypes.tsv", _lines(rows))
        atomic_write(folder / "classes.tsv", _lines(["class\tsession", *cells]))
        atomic_write(self.folder / PROJECTOR_CONFIG, PROJECTOR_TEXT.encode())

    def finish(
        self,
        hyperparameters: Mapping[str, bool | int | float | str],
        figures: Mapping[str, float],
    ) -> None:
        """Show the run in the table of hyper-parameters, with its final figures.

        TensorBoard puts settings before figures and opens with the first five of each. So the
        first figures of `HEADLINES` are columns of settings too: they stand in front, because
        capitals come first. What differs between runs follows.
        """
        first = {title: figures[name] for name, title in HEADLINES.items() if name in figures}
        values = {name: _table_value(value) for name, value in {**first, **hyperparameters}.items()}
        # the first of the three summaries, a list of columns, is left out: TensorBoard would read
        # it from one run only and hide the columns that only other strategies' runs have
        _, start, end = summary.hparams(values, {})  # type: ignore[no-untyped-call]  # torch's
        with self._writing():
            self.events.add(start)
            self.events.add(end)
            self._scalars(0, outcome(figures))

    def close(self) -> None:
        """Write what is pending and close the file."""
        try:
            self.events.close()
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _scalars(self, step: int, values: Figures) -> None:
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                self.events.add(summary.scalar(name, value), step)  # type: ignore[no-untyped-call]  # torch's

    def _picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        image = summary.image(name, pixels, dataformats="HWC")  # type: ignore[no-untyped-call]  # torch's
        self.events.add(image, step)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
            self.events.flush()
        except OSError as error:
            # otherwise it would try again to write the rest when the program ends
            with contextlib.suppress(AttributeError, OSError):
                self.events.close()
            raise write_error(self.folder, error) from error


def _table_value(value: bool | int | float | str) -> float | str:
    # the table has no booleans, and its JSON no infinity
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
