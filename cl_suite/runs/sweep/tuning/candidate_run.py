"""Runs a candidate on the fake stream: `python -m ... --config FILE --out FOLDER --steps N`."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_suite import registry
from cl_suite.engine.session import EpochRecord
from cl_suite.errors import UserError, on_command_line
from cl_suite.metrics.headline import headline
from cl_suite.runs.arguments import names_in
from cl_suite.runs.base_classes import SUFFIX, BaseClassesOnly, Cut
from cl_suite.runs.config import RunConfig, RunOptions, resolve
from cl_suite.runs.folder_run import FolderRun
from cl_suite.runs.listener import Listener, WatchedRun
from cl_suite.runs.run import run
from cl_suite.runs.stream_run import Run
from cl_suite.runs.sweep.tuning.epoch_figure import ClassMeanFigure
from cl_suite.runs.sweep.tuning.figures_file import FiguresFile, Step, step_of


class Measuring(Listener):
    """Measures a candidate after each epoch of its base session and after each session.

    Args:
        base_steps: steps of the base session of the candidate that trains it longest.
    """

    def __init__(self, base_steps: int) -> None:
        self.base_steps = base_steps
        self.class_means: ClassMeanFigure | None = None

    def watches(self, run: FolderRun) -> None:
        """Learn where the network is."""
        assert isinstance(run, Run), "a sweep refuses ranges of tasks with select"
        training = run.config.training
        self.class_means = ClassMeanFigure(
            run.stream, run.engine.model, training.eval_batch_size, run.engine.device
        )

    def says(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")

    def starts(self, run: WatchedRun) -> None:
        self.run = run
        self.file = FiguresFile(run.folder.path)

    def epoch(self, record: EpochRecord) -> None:
        num_epochs = self.run.session_epochs[0]
        if record.session != 0 or self.class_means is None:
            return
        # the last epoch counts as long as the longest base session, to be compared with that
        is_last = record.epoch + 1 == num_epochs
        step = max(self.base_steps, num_epochs) if is_last else record.epoch + 1
        average, last, harmonic = self.class_means()
        self.file.add(Step(step, average, last, harmonic))
        self.says(
            f"session 0: epoch {record.epoch + 1}/{num_epochs}  class means {100 * average:.2f} %"
        )

    def session_ends(self, session: int) -> None:
        done = session == self.run.info.num_sessions - 1
        first = max(self.base_steps, self.run.session_epochs[0]) + 1
        found = headline(self.run.log.hits)
        self.file.add(step_of(first + session, found, done))
        self.says(f"session {session}: last {100 * found.last:.2f} %")


def on_base_classes(config: RunConfig, cut: Cut) -> RunConfig:
    """Return the same settings on the fake stream, under another scenario's name."""
    name = f"{config.scenario_name}{SUFFIX}"
    lines = [
        f"scenario_name: {name}" if line.startswith("scenario_name:") else line
        for line in config.text.splitlines()
    ]
    return dataclasses.replace(
        config,
        scenario_name=name,
        scenario=BaseClassesOnly(config.scenario, cut),
        text="\n".join([*lines, ""]),
    )


def run_candidate(config: RunConfig, options: RunOptions, base_steps: int) -> None:
    """Run a candidate, from `on_base_classes`, to its end.

    Raises:
        UserError: for what a run would refuse.
    """
    listener = Measuring(base_steps)
    run(config, options, [listener], made=listener.watches)


def main(arguments: Sequence[str]) -> int:
    """Run a candidate and return the exit code."""
    parsed, rest = _parser().parse_known_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with on_command_line():
            names = names_in(rest)
            pair = registry.get("scenario", names[0]), registry.get("strategy", names[1])
            (config,), options = resolve(*pair, [*rest, "--resume"])
            cut = Cut(parsed.cut_seed, parsed.new_classes, parsed.test_images)
            run_candidate(on_base_classes(config, cut), options, parsed.base_steps)
    except UserError as error:
        sys.stderr.write(f"cl-suite: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> Any:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--cut-seed", type=int, required=True)
    parser.add_argument("--new-classes", type=float, required=True)
    parser.add_argument("--test-images", type=int, required=True)
    parser.add_argument("--base-steps", type=int, required=True)
    return parser


def arguments_of(config: Path, out: Path, cut: Cut, base_steps: int) -> tuple[str, ...]:
    """Return the arguments of Python that run a candidate.

    Args:
        config: file of its settings, on the scenario itself.
    """
    return (
        *("-m", "cl_suite.runs.sweep.tuning.candidate_run"),
        *("--config", str(config), "--out", str(out)),
        *("--cut-seed", str(cut.seed), "--new-classes", str(cut.new_classes)),
        *("--test-images", str(cut.test_images), "--base-steps", str(base_steps)),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
