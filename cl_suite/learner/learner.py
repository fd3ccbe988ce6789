"""`Learner`: a finished classifier that predicts, learns, forgets, merges and undoes, exactly."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from cl_suite.errors import UserError
from cl_suite.learner import steps, store
from cl_suite.learner.calibration import FALSE_ALARMS
from cl_suite.learner.extractor import Absent, BackboneSpec, Extractor, build_extractor
from cl_suite.learner.knowledge import Knowledge
from cl_suite.learner.places import check_new
from cl_suite.learner.records import State
from cl_suite.learner.rule import FALLBACK, Rule, usable_plugin
from cl_suite.learner.start import fixed_base, new_extractor, pretrained_settings, run_file
from cl_suite.learner.store import stamp_of
from cl_suite.storage.files import make_folder


class Learner(Knowledge):
    """A classifier whose state is sufficient statistics; the classifier is a function of them.

    Make one by `from_run`, `new` or `load`. It predicts, learns, forgets and more as `Knowledge`
    does, and lives in a file.
    """

    _file: tuple[Path, tuple[int, ...]] | None = None  # where it was read or written, and its stamp

    @classmethod
    def from_run(
        cls,
        folder: str | os.PathLike[str],
        *,
        weights: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Learner:
        """Return the classifier that a finished run left, ready to go on.

        Args:
            folder: the run's folder.
            weights: file of the backbone's published weights, if it moved.

        Raises:
            UserError: if the folder holds no finished run, or its strategy's samples are no
                pictures.
        """
        learner = cls.load(run_file(Path(folder).expanduser()), weights=weights, device=device)
        learner._file = None  # a run's own file is not written again
        return learner

    @classmethod
    def new(
        cls,
        backbone: str,
        *,
        weights: str | None = None,
        beside: str | None = None,
        beside_weights: str | None = None,
        rule: str = FALLBACK,
        parameters: Mapping[str, Any] | None = None,
        photos: str | os.PathLike[str] | None = None,
        image_size: int | None = None,
        crop_fraction: float = 1.0,
        false_alarms: float = FALSE_ALARMS,
        strict: bool = False,
        device: torch.device | str = "cpu",
    ) -> Learner:
        """Return a classifier on a pretrained backbone, without a class or from class folders.

        Args:
            backbone: timm's name, or `clip:` and the name of a CLIP model.
            weights: a `.safetensors` file (for CLIP: a folder); None for the published ones.
            beside, beside_weights: a second network of timm, whose features stand beside the first
                one's, and its file; see `ModelConfig`.
            rule: a strategy whose classifier follows from class statistics, such as `simple_cil`
                (class means), `teen`, `teen_whitened`, `lda` or `ranpac` (balanced ridge).
            parameters: the strategy's.
            photos: folder with one folder of pictures a class: the base classes.
            image_size, crop_fraction: of the preparation, see `ModelConfig`.
            strict: raise for a picture that cannot be read, instead of skipping it.

        Raises:
            UserError: for a backbone, weights, rule or folder that cannot be used.
        """
        if usable_plugin(rule, parameters or {}).needs_base and photos is None:
            raise UserError(
                f"rule '{rule}' is fitted to base classes, and there are none; start from a folder "
                "of class folders (photos), or use rule 'simple_cil'"
            )
        settings = pretrained_settings(
            backbone, weights, beside, beside_weights, image_size, crop_fraction
        )
        extractor = new_extractor(settings, device)
        learner = cls(
            extractor,
            Rule(rule, parameters or {}, extractor.dim),
            State({}),
            false_alarms=false_alarms,
        )
        if photos is not None:
            place = Path(photos).expanduser()
            found, notes = fixed_base(place, lambda images: learner.look(images, strict=strict))
            with torch.no_grad():
                learner._state = steps.started(learner.rule, found)
            learner.note = "; ".join(notes)
        return learner

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | None = None,
        device: torch.device | str = "cpu",
        with_backbone: bool = True,
    ) -> Learner:
        """Return the learner in a file.

        Args:
            weights: file of the backbone's published weights, if it moved.
            with_backbone: False for steps that see no picture, such as `forget` and `merge`: the
                weights need not be there.

        Raises:
            UserError: for a file that is missing, damaged or of another version, or weights that
                are not those it learned with.
        """

        def extractor_of(spec: BackboneSpec) -> Extractor:
            if not with_backbone:
                return Absent(spec)
            return build_extractor(spec, weights=weights, device=device)

        return cls._read(Path(path).expanduser(), extractor_of)

    @classmethod
    @contextlib.contextmanager
    def editing(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Iterator[Learner]:
        """Load a file, and save it at the block's end; other processes wait meanwhile.

        An error inside the block leaves the file as it is.

        Args:
            weights: file of the backbone's published weights, if it moved.

        Raises:
            UserError: as `load` and `save` do.
        """
        path = Path(path).expanduser()
        with store.locked(path):
            yield from cls.load(path, weights=weights, device=device)._edited(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[Learner]:
        """Yield the learner in this one's file as it is by now, and save it at the block's end.

        Other processes wait meanwhile, so `look` at pictures before, and `add` them inside. An
        error inside the block leaves the file, and what this learner knows, as it is.

        Raises:
            UserError: if the file is gone or has another backbone by now, or cannot be written.
        """
        if self._file is None:
            raise UserError("this classifier was not loaded from a file; save it first")
        path, stamp = self._file
        with store.locked(path):
            learner = self
            if stamp_of(path) != stamp:
                learner = self._read(path, lambda _: self.extractor)
            yield from learner._edited(path)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Write the learner; a file's previous version stays beside it as `PATH.previous`.

        Args:
            overwrite: whether a file that exists is replaced.

        Raises:
            UserError: if the place cannot be written, or another process has changed the file
                since it was loaded.
        """
        path = Path(path).expanduser()
        make_folder(store.real(path).parent)
        with store.locked(path):
            if not overwrite:
                check_new(path)
            place, stamp = self._file or (None, ())
            if place == store.real(path) and stamp != stamp_of(path):
                raise UserError(
                    f"classifier file '{path}' was changed by another process since it was loaded; "
                    "load it again, and change it within `Learner.editing`"
                )
            self._write(path)

    def export(self, path: str | os.PathLike[str], **options: Any) -> Any:
        """Write the classifier for other runtimes; see `cl_suite.learner.export.export`."""
        from cl_suite.learner.export import export

        return export(self, Path(path).expanduser(), **options)

    @classmethod
    def _read(cls, path: Path, extractor_of: Callable[[BackboneSpec], Extractor]) -> Learner:
        stamp = stamp_of(path)
        tree = store.read(path)
        rule, spec, state = store.unpack(tree, path)
        extractor = extractor_of(spec)
        if extractor.spec.identity != spec.identity:
            raise UserError(
                f"classifier file '{path}' was replaced by one with another backbone meanwhile; "
                "load it again"
            )
        learner = cls(extractor, rule, state, false_alarms=tree["false_alarms"], note=tree["note"])
        learner._file = (store.real(path), stamp)
        return learner

    def _edited(self, path: Path) -> Iterator[Learner]:
        before, past = self._state, self._past
        try:
            yield self
            if self._state is not before:
                self._write(path)
        except BaseException:
            self._state, self._past = before, past
            raise

    def packed(self, state: State | None = None) -> dict[str, Any]:
        """Return what its file holds; with another state, what it would hold then."""
        extra = {"false_alarms": self.false_alarms, "note": self.note}
        return store.pack(self.rule, self.spec, state or self._state, extra)

    def _write(self, path: Path) -> None:
        store.write(path, self.packed())
        self._file = (store.real(path), stamp_of(path))
