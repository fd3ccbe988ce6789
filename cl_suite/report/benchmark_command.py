"""The arguments of `cl-suite benchmark`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cl_suite.errors import UserError
from cl_suite.registry import RUN_SECTIONS

USAGE = """usage: cl-suite benchmark NAME [SCENARIO] [options]
       cl-suite benchmark

Run a named protocol: every row on many draws of the stream. Without a name, list the protocols.
NAME may be a YAML file of your own.

options:
  --strategies S [S ...]  the rows besides the protocol's fixed ones (default: the protocol's)
  --scenario.X, --model.X, --training.X, --evaluation.X
                          settings of all runs
  --tune-on SCENARIO      choose parameters there first, on training data (with --ray)
  --tune.scenario.X       settings of that scenario
  --out FOLDER            folder of all its runs (default: runs/benchmark/NAME/SCENARIO)
  --jobs N                runs at a time (default: 1, or what --ray has)
  --ray [ADDRESS]         run on a Ray cluster, or a local Ray
  --device NAME           as for `cl-suite run`
  --dry-run               show the plan; write nothing
"""

_SETTING = re.compile(rf"--(tune\.)?((?:{'|'.join(RUN_SECTIONS)})\.[\w.]+)(?:=(.*))?", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `cl-suite benchmark --help`")


def run_benchmark(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code.

    Raises:
        UserError: for bad input.
    """
    if set(arguments) & {"-h", "--help"}:
        sys.stdout.write(USAGE)
        return 0
    rest, settings, tune_settings = _settings(arguments)
    parsed = _parser().parse_args(rest)
    from cl_suite.report.console import plain_console

    console = plain_console()
    if parsed.name is None:
        from cl_suite.report.benchmark import print_benchmarks

        print_benchmarks(console)
        return 0
    from cl_suite.report.benchmark import Asked, print_benchmark
    from cl_suite.report.sweep import How

    if tune_settings and parsed.tune_on is None:
        raise UserError(f"--tune.{next(iter(tune_settings))} needs --tune-on SCENARIO")
    asked = Asked(
        name=parsed.name,
        scenario=parsed.scenario,
        strategies=parsed.strategies,
        settings=settings,
        out=None if parsed.out is None else Path(parsed.out),
        how=How(jobs=parsed.jobs, ray=parsed.ray, dry_run=parsed.dry_run),
        device=parsed.device,
        tune_on=parsed.tune_on,
        tune_settings=tune_settings,
    )
    return print_benchmark(asked, console)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cl-suite benchmark", add_help=False, allow_abbrev=False)
    parser.add_argument("name", nargs="?")
    parser.add_argument("scenario", nargs="?")
    parser.add_argument("--strategies", nargs="+")
    parser.add_argument("--tune-on")
    parser.add_argument("--out")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--ray", nargs="?", const="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dry-run", action="store_true")
    return parser


def _settings(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Return the other arguments, the settings of all runs, and those of the tuning's scenario."""
    rest: list[str] = []
    own: dict[str, Any] = {}
    tuning: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        match = _SETTING.fullmatch(argument)
        if match is None:
            rest.append(argument)
            continue
        tune, name, value = match.groups()
        if value is None:
            if not waiting or waiting[0].startswith("--"):
                raise UserError(f"{argument} has no value; pass one, as in {argument}=VALUE")
            value = waiting.pop(0)
        (tuning if tune else own)[name] = value
    return rest, own, tuning
