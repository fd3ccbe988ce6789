"""The command line `cl-suite`: parses, calls, prints. Only commands import the engine."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cl_suite import __version__
from cl_suite.errors import UserError, on_command_line, os_refusal, suggestion
from cl_suite.learner.commands import HELP, run_command
from cl_suite.report.process import calm_libraries, quiet_stops
from cl_suite.report.processes import one_voice, says_why

COMMANDS = (
    *("run", "sweep", "benchmark", "orders", "show", "report", "list", "bank", "sensitivity"),
    *HELP,
)

RUN_HELP = """usage: cl-suite run SCENARIO STRATEGY [options]
       cl-suite run --config FILE [options]

Train and evaluate a strategy on a scenario.

options:
  --seed N [N ...]     one run for each seed (default: 0); 0-4 is 0 1 2 3 4
  --out FOLDER         folder of all runs (default: runs)
  --resume             continue a run that was stopped
  --overwrite          replace the run in the folder
  --on-collapse WORD   if training spoils a network: say so (default) or stop
  --start-from RUN     start from the finished base session of another run
  --device NAME        cpu, cuda, cuda:1 or auto (default: auto)
  --config FILE        settings from a YAML file, such as a run folder's config.yaml
  --print_config       print the resolved settings and exit
  --logging.loggers LIST
                       tensorboard (default), csv, wandb, mlflow; [] for none
  --strategy.X, --scenario.X, --training.X, --model.X, --evaluation.X
                       parameters; `cl-suite run SCENARIO STRATEGY --help` lists them
"""

HOW_TO_GO_ON = {  # after Ctrl-C
    "run": "; repeat the command with --resume to continue where it stopped",
    "sweep": "; repeat the command to continue each run from its last epoch",
    "benchmark": "; repeat the command to continue each run from its last epoch",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for bad input, 130 after Ctrl-C.

    A sweep of which a run has failed ends with 1.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with quiet_stops(), one_voice(), calm_libraries(), on_command_line():
            return _command(arguments)
    except UserError as error:
        _print_failure(error, str(error))
        return 2
    except KeyboardInterrupt as stop:
        _print_failure(stop, f"stopped{HOW_TO_GO_ON.get(''.join(arguments[:1]), '')}")
        return 130
    except BrokenPipeError:
        # the reader of the pipe has closed it
        sys.stderr.close()
        return 0
    except OSError as error:
        _print_failure(error, os_refusal(error))
        return 2


def _command(arguments: list[str]) -> int:
    # the pair decides which options `run` has, so they are parsed once it is known
    if arguments[:1] == ["run"]:
        return _run(arguments[1:])
    if arguments and arguments[0] in HELP:
        from cl_suite.report.console import print_columns

        return run_command(arguments, print_columns)
    if arguments[:1] == ["benchmark"]:
        from cl_suite.report.benchmark_command import run_benchmark

        return run_benchmark(arguments[1:])
    parsed = _parser().parse_args(arguments)
    if parsed.command == "list":
        return _list("pairs" if parsed.pairs else parsed.kind)
    if parsed.command == "bank":
        return _bank(parsed)
    if parsed.command == "sweep":
        return _sweep(parsed)
    if parsed.command == "orders":
        return _orders(Path(parsed.run))
    if parsed.command == "sensitivity":
        return _sensitivity(Path(parsed.run), parsed.all)
    if parsed.command == "report":
        return _report(parsed)
    return _show([Path(path) for path in parsed.runs], parsed.all)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if found := re.match(r"argument COMMAND: invalid choice: '([^']*)'", message):
            raise UserError(f"command '{found[1]}' is unknown{suggestion(found[1], COMMANDS)}")
        raise UserError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cl-suite", description="Continual and few-shot class-incremental learning."
    )
    parser.add_argument("--version", action="version", version=f"cl-suite {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="train and evaluate a strategy on a scenario")
    _add_sweep(commands.add_parser("sweep", help="run a grid of runs from a YAML file"))
    commands.add_parser("benchmark", help="run a named protocol: many draws, intervals, places")
    orders = commands.add_parser(
        "orders", help="print class orders with look-alike classes apart, and together"
    )
    orders.add_argument("run", metavar="RUN", help="folder of a finished run of class means")
    show = commands.add_parser("show", help="print the figures of finished runs, or compare them")
    show.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")
    show.add_argument("--all", action="store_true", help="print gAcc, retention, BWT and costs too")
    _add_report(
        commands.add_parser("report", help="write a page of finished runs, or their tables")
    )
    listing = commands.add_parser("list", help="list scenarios, strategies, backbones or pairs")
    listing.add_argument(
        "kind", nargs="?", choices=["scenarios", "strategies", "backbones", "pairs"], default=None
    )
    listing.add_argument(
        "--pairs",
        action="store_true",
        help="list which strategy runs on which scenario, as `list pairs`",
    )
    bank = commands.add_parser("bank", help="list or clear the features kept on disk")
    actions = bank.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("ls", help="list the entries with their sizes")
    clear = actions.add_parser("clear", help="delete entries (default: all)")
    clear.add_argument("names", nargs="*", metavar="NAME", help="entries as `ls` names them")
    sensitivity = commands.add_parser(
        "sensitivity", help="show which parameters move when a run's session changes"
    )
    sensitivity.add_argument(
        "run", metavar="RUN", help="folder of a run with --evaluation.dynamics true"
    )
    sensitivity.add_argument("--all", action="store_true", help="print every tensor")
    for name, meaning in HELP.items():
        commands.add_parser(name, help=meaning)
    return parser


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="YAML file of scenarios, strategies, values")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time (default: 1, or what --ray has)"
    )
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="run on a Ray cluster, or a local Ray"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="write array scripts for sbatch; submit nothing"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan; write nothing")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a folder of runs")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="file, replaced if it exists (default: report.html; tables go to the terminal)",
    )
    parser.add_argument(
        "--format",
        choices=["html", "md", "csv", "latex"],
        default="html",
        help="a page of HTML (default), or the tables alone",
    )


def _sweep(parsed: argparse.Namespace) -> int:
    from cl_suite.report.console import plain_console
    from cl_suite.report.sweep import How, print_sweep

    how = How(jobs=parsed.jobs, ray=parsed.ray, slurm=parsed.slurm, dry_run=parsed.dry_run)
    return print_sweep(Path(parsed.file), how, plain_console())


def _run(arguments: list[str]) -> int:
    names: list[str] = []
    while arguments and not arguments[0].startswith("-") and len(names) < 2:
        names.append(arguments.pop(0))
    if not names and (not arguments or set(arguments) & {"-h", "--help"}):
        sys.stdout.write(RUN_HELP)
        return 0 if arguments else 2
    from cl_suite import registry
    from cl_suite.runs.arguments import names_in, with_all_seeds
    from cl_suite.runs.early import refuse_early

    if len(names) == 1:
        registry.get("scenario", names[0])
        raise UserError(f"name a strategy too, as in `cl-suite run {names[0]} teen`")
    # all that can be checked without torch, whose import takes seconds
    scenario_name, strategy_name = names or names_in(arguments)
    scenario = registry.get("scenario", scenario_name)
    strategy = registry.get("strategy", strategy_name)
    arguments = with_all_seeds(arguments)
    refuse_early(scenario, strategy, arguments)
    from cl_suite.report.console import dashboard_lines, plain_console
    from cl_suite.runs.config import resolve

    configs, options = resolve(scenario, strategy, arguments)
    console = plain_console()
    if len(configs) > 1 and configs[0].start_from == configs[1].start_from is not None:
        console.print(
            "note: all seeds share one base session, so the intervals do not include its "
            "variation; use {seed} in --start-from to give each seed its own",
            soft_wrap=True,
        )
    folders = [_run_one(config, options, console) for config in configs]
    from cl_suite.report.show import print_runs

    print_runs(folders, console)
    root = options.out / scenario_name / strategy_name
    seen = dashboard_lines(options.out) if "tensorboard" in configs[0].logging.loggers else ""
    console.print(f"\nruns:      {root}\n{seen}".rstrip(), soft_wrap=True)
    return 0


def _run_one(config: Any, options: Any, console: Any) -> Path:
    """Run one configuration (`RunConfig`, `RunOptions`); return its folder."""
    from rich.text import Text

    from cl_suite import registry
    from cl_suite.runs.finished import finished_folder, finished_line

    title = Text(f"{config.scenario_name} / {config.strategy_name}", style="bold")
    title.append(f", seed {config.seed}, on {config.device}", style="not bold")
    console.print(title)
    if (folder := finished_folder(config, options)) is not None:
        # without the engine, whose import takes seconds
        console.print(finished_line(folder), soft_wrap=True)
        return folder.path
    from cl_suite.runs.early import check_pair

    check_pair(config)
    from cl_suite.runs.run import run

    watching = registry.make_listeners(config.logging.loggers, config.logging.options)
    return run(config, options, watching).path


def _list(kind: str | None) -> int:
    from cl_suite.report.listing import print_lists, print_pairs

    if kind == "pairs":
        print_pairs()
    else:
        print_lists(kind)
    return 0


def _bank(parsed: argparse.Namespace) -> int:
    from cl_suite.report.bank import clear_bank, print_bank

    if parsed.action == "ls":
        print_bank()
    else:
        clear_bank(parsed.names)
    return 0


def _show(paths: list[Path], everything: bool) -> int:
    from cl_suite.report.console import plain_console
    from cl_suite.report.show import print_runs

    print_runs(paths, plain_console(), everything=everything)
    return 0


def _orders(path: Path) -> int:
    from cl_suite.report.console import plain_console
    from cl_suite.report.orders import print_orders

    print_orders(path, plain_console())
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from cl_suite.report.console import plain_console
    from cl_suite.report.html.command import write_report

    out = write_report([Path(path) for path in parsed.runs], parsed.out, parsed.format)
    if out is not None:
        plain_console().print(f"report: {out}", soft_wrap=True)
    return 0


def _sensitivity(path: Path, everything: bool) -> int:
    from cl_suite.report.console import plain_console
    from cl_suite.report.sensitivity import print_sensitivity

    print_sensitivity(path, plain_console(), everything=everything)
    return 0


def _print_failure(error: BaseException, text: str) -> None:
    if (who := says_why(error)) is not None:
        # `one_voice` is over, so this reaches the terminal from any process
        sys.stderr.write(f"cl-suite: {who}{text}\n")


if __name__ == "__main__":
    sys.exit(main())
