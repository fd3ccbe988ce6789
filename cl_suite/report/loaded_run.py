"""Loads a run folder: the settings of the run and its results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cl_suite.errors import UserError
from cl_suite.metrics.accuracy_matrix import Hits
from cl_suite.runs.flat import flatten
from cl_suite.runs.folder import RunFolder, SessionRecord

# parameters of a scenario that change neither its classes, its samples nor its test
AUGMENTATION = ("augment", "augmentation")


@dataclass(frozen=True)
class Draw:
    """The draw of a benchmark that a run is of; draws of one group are repeats, as seeds are.

    Attributes:
        number: its place in the group.
        names: the scenario's parameters that the benchmark's draws set.
    """

    group: str
    number: int
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """The contents of a run folder.

    Attributes:
        folder: the run's folder.
        config: the resolved settings.
        records: figures of the sessions done, at least one.
        hits: hits of the same sessions.
        seed: its seed.
        finished: whether no session is missing.
        fingerprint: fingerprint of the data, empty if unknown.
        measured_by: source of the figures: its classifier, or a probe.
        probes: hits of additional probes, by name.
        drawn_by_seed: the scenario's parameter that followed the seed, if one did.
        task: its task, of a run over many; then `records` is empty.
        trouble: what its training did wrong, as a sentence; "" for nothing.
        confidences: how far its probabilities can be trusted after each session, by figure, None
            where it is undefined, and the bins of its calibration curve; empty if not measured.
        info: the contents of run.json: versions, machine, stream and costs.
        draw: its draw, of a run of a benchmark.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    records: Sequence[SessionRecord]
    hits: Hits
    seed: int
    finished: bool
    fingerprint: str
    measured_by: str = "its classifier"
    probes: Mapping[str, Hits] = field(default_factory=dict)
    drawn_by_seed: str | None = None
    task: int | None = None
    trouble: str = ""
    confidences: Sequence[Mapping[str, Any]] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    draw: Draw | None = None

    @property
    def repeats(self) -> Literal["seed", "task", "draw"]:
        """What runs of its settings differ in."""
        if self.task is not None:
            return "task"
        return "seed" if self.draw is None else "draw"

    @property
    def number(self) -> int:
        """Its draw, or its seed."""
        return self.seed if self.draw is None else self.draw.number

    @property
    def confidence(self) -> Mapping[str, Any]:
        """How far its probabilities can be trusted after the last session measured."""
        return self.confidences[-1] if self.confidences else {}

    @property
    def scenario_name(self) -> str:
        """Name of the scenario."""
        return str(self.config["scenario_name"])

    @property
    def strategy_name(self) -> str:
        """Name of the strategy."""
        return str(self.config["strategy_name"])

    @property
    def scenario(self) -> dict[str, Any]:
        """Everything that determines the stream: the parameters and the data itself.

        If each seed draws its own stream, only the part that the draws share. How training images
        are augmented is a matter of the method.
        """
        parameters = flatten(self.config.get("scenario"))
        parameters = {k: v for k, v in parameters.items() if k not in AUGMENTATION}
        if self.draw is not None:
            shared = {k: v for k, v in parameters.items() if k not in self.draw.names}
            return {**shared, "draws": self.draw.group}
        if self.drawn_by_seed is not None:
            parameters.pop(self.drawn_by_seed, None)
            return parameters
        data = {"data": self.fingerprint[:12]} if self.fingerprint else {}
        return {**parameters, **data}

    @property
    def method(self) -> dict[str, Any]:
        """Everything else that determines the result, except the seed."""
        sections = ("strategy", "model", "training", "evaluation")
        settings = flatten({name: self.config.get(name) for name in sections})
        shown = flatten(self.config.get("scenario"))
        settings |= {f"scenario.{name}": shown[name] for name in AUGMENTATION if name in shown}
        if self.draw is None and (start := self.config.get("start_from")):
            # the folder above the seed: seeds of one comparison start from runs of other seeds
            settings["start_from"] = str(Path(str(start)).parent)
        weights = settings.get("model.weights")
        if weights and re.fullmatch(r"seed\d+", Path(str(weights)).name):
            settings["model.weights"] = str(Path(str(weights)).parent)
        return settings


def load(folder: RunFolder) -> LoadedRun:
    """Return the contents of a run folder.

    Raises:
        UserError: if a file is missing or damaged, or no session is finished.
    """
    described = description(folder)
    records, hits = folder.read_metrics(), folder.read_hits()
    # a run killed between the two writes has one session more in the first file
    done = min(len(records), hits.num_sessions)
    if not done:
        raise UserError(
            f"no session of run '{folder.path}' is finished yet; wait, or continue it with --resume"
        )
    return LoadedRun(
        **described,
        records=records[:done],
        hits=hits.until(done - 1),
        probes=_probes(folder, described["info"].get("probes"), done),
        confidences=folder.read_confidence()[:done] if folder.confidence_file.is_file() else (),
    )


def description(folder: RunFolder) -> dict[str, Any]:
    """Return the fields of a `LoadedRun` that are not results.

    Raises:
        UserError: if a file is missing or damaged.
    """
    config, info = folder.read_config(), folder.read_run_info()
    if missing := {"scenario_name", "strategy_name", "seed"} - set(config):
        raise UserError(f"'{folder.config_file}' has no {min(missing)}; is it a run's file?")
    stream = info.get("stream")
    fingerprint = str(stream.get("fingerprint", "")) if isinstance(stream, dict) else ""
    return {
        "folder": folder,
        "config": config,
        "seed": _seed(folder, config["seed"]),
        "finished": bool(info.get("finished")),
        "fingerprint": fingerprint,
        "measured_by": str(info.get("measured_by", "its classifier")),
        "drawn_by_seed": drawn if isinstance(drawn := info.get("drawn_by_seed"), str) else None,
        "trouble": _trouble(info),
        "info": info,
    }


def _trouble(info: Mapping[str, Any]) -> str:
    """Return the sentence that the run has said of its training; "" for none."""
    if isinstance(diverged := info.get("diverged"), str):
        return f"training has diverged: the {diverged}"
    base = info.get("base_training")
    note = base.get("note") if isinstance(base, dict) else None
    return note if isinstance(note, str) else ""


def _probes(folder: RunFolder, names: object, done: int) -> dict[str, Hits]:
    if not isinstance(names, list):
        return {}
    known = [str(name) for name in names if str(name) in ("linear", "knn")]
    found = {name: folder.probe(name).read_hits() for name in known}
    # a run killed between two writes lacks the last session for the last probe
    return {name: hits.until(done - 1) for name, hits in found.items() if hits.num_sessions >= done}


def _seed(folder: RunFolder, value: object) -> int:
    # `--seed` takes several, so a run's settings hold a list of one
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise UserError(
            f"'{folder.config_file}' has seed {value!r}, not a number; is it a run's file?"
        )
    return value
