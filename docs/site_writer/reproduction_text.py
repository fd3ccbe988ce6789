"""The Markdown of the page on reproduction; `site_writer.reproduction` collects what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tables

if TYPE_CHECKING:
    from site_writer.reproduction import Gain, Result
    from site_writer.reproduction_facts import System

INTRODUCTION = """# Reproduction

<!-- made by python docs/reproduction.py --write; edit benchmarks/reproduction.yaml instead -->

What each paper claims, what we measured, and how far one supports the other. Every figure is in per
cent, and every gain and gap is in percentage points. ± stands before half the width of a 95 %
interval (Student's t).

The verdicts follow fixed rules:

- **verified**: we ran the published setting, and the published figure lies within our interval or
  within one point of our mean.
- **partly**: the claim shows on at least one ground, with other data or another network. The gain
  over the baseline is above zero by more than its interval, or the two intervals lie apart.
- **not**: the gain does not show, or we did not measure it. This says nothing against the paper:
  most of our grounds are smaller than the paper's.

A gain is paired by seed if the values of single seeds are known. Otherwise it is the difference of
the means and has no ±. Published figures are those of which we are certain, each with its source.

The formulas were checked apart from the figures. An independent check ran the authors' programs and
ours on the same tensors. *Equal* means that losses, gradients and whole steps agreed to rounding.
CLIP-LoRA, DER and RanPAC, which have no section here, were equal too.
"""
HEAD = (
    *("system", "claim", "published", "our ground", "ours", "gain over the baseline"),
    *("formulas", "verdict"),
)
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"  # a cell does not break there
LINE = 96  # characters of a command's line, about


def page(found: Sequence[tuple[System, Sequence[Result]]], data: Mapping[str, str]) -> str:
    """Return the page: the rules, a table of all systems, and a section for each."""
    lines = [row(HEAD), row(["---"] * 4 + ["---:", "---:", "---", "---"])]
    lines += [line for system, results in found for line in _summary(system, results)]
    sections = [_section(system, results, data) for system, results in found]
    count = _count([system for system, _ in found])
    return "\n".join([INTRODUCTION, count, "", *lines, "", *sections])


def _count(systems: Sequence[System]) -> str:
    verdicts = [system.verdict for system in systems]
    return (
        f"Of {len(systems)} systems, {verdicts.count('verified')} are verified, "
        f"{verdicts.count('partly')} partly, and {verdicts.count('not')} not."
    )


def _summary(system: System, results: Sequence[Result]) -> list[str]:
    """Return a line for each measured claim; the first one says what is true of them all."""
    link = f"[{system.name}](#{anchor(system.name)})"
    claims = [
        [f"{r.table.title}; {_where(r)}", number(r.ours), gain(r.gain, r.ours.decimals)]
        for r in results
        if not r.reference.beside
    ]
    first, *others = claims or [["not measured", "", ""]]
    head = [link, system.claim, system.published.figures]
    tail = [system.formulas, f"**{system.verdict}**"]
    return [row([*head, *first, *tail]), *(row(["", "", "", *o, "", ""]) for o in others)]


def _where(result: Result) -> str:
    """Return which row and figure of its table this is, each word once."""
    row, column = result.row, result.table.columns[result.reference.figure]
    return ", ".join(dict.fromkeys([*([row.group] if row.group else []), row.label, column]))


def _section(system: System, results: Sequence[Result], data: Mapping[str, str]) -> str:
    links = " and ".join(f"[`{name}`](strategies/{name}.md)" for name in system.strategies)
    parts = [
        f"## {system.name}",
        f"{system.paper} Here: {links}.",
        f"**Claim.** {system.claim}",
        f"**Verdict: {system.verdict}.** {system.why}",
        f"**Published.** {system.published.setting} {system.published.figures}",
        f"Source: {system.published.source}",
        *_ours(results),
        f"**Gap.** {_gap(system, results)}",
        *_full(system, data),
    ]
    return "\n\n".join(parts) + "\n"


def _ours(results: Sequence[Result]) -> list[str]:
    if not results:
        return ["**Ours.** Not measured."]
    head = ["table", "row, figure", "seeds", "ours", "baseline", "gain"]
    lines = [row(head), row(["---"] * 3 + ["---:"] * 3)]
    for result in results:
        beside = " (beside the claim)" if result.reference.beside else ""
        lines.append(
            row(
                [
                    f"`{result.table.name}`",
                    f"{_where(result)}{beside}",
                    _seeds(result.row),
                    number(result.ours),
                    f"{result.baseline.label}: {number(result.theirs)}",
                    gain(result.gain, result.ours.decimals),
                ]
            )
        )
    named = {result.table.name: result.table for result in results}
    settings = [f"- `{name}` ({table.title}): {_setting(table)}" for name, table in named.items()]
    return ["**Ours.**", "\n".join(lines), "\n".join(settings)]


def _setting(table: tables.Table) -> str:
    when = f" on {table.measured}" if table.measured else ""
    origin = table.provenance or f"Measured{when} with version {table.version}."
    command = "The command was not kept."
    if table.command is not None:
        needs = [f"`{name}` to {what}" for name, what in table.needs.items()]
        command = f"Set {' and '.join(needs)}, then r" if needs else "R"
        command += f"epeat it by `{table.command}`."
    return f"{table.setting} {origin} {command}"


def _gap(system: System, results: Sequence[Result]) -> str:
    points = [
        f"{_signed(gap)} points to the published {result.reference.published} "
        f"(`{result.table.name}`, {_where(result)})."
        for result in results
        if (gap := result.gap) is not None
    ]
    return " ".join([*points, system.gap])


def _full(system: System, data: Mapping[str, str]) -> list[str]:
    commands = [call.command for call in system.full]
    block = "\n".join(["```sh", *(_broken(command) for command in commands), "```"])
    shorter = [f"- `{_program(call.command)} ... {call.trial}`" for call in system.full]
    tried = "Tried to the end on tiny data, on a shortened schedule, with these further options."
    return [
        f"**The full setting.** {_meaning(commands, data)}".strip(),
        block,
        f"{tried} {_meaning([call.trial for call in system.full], data)}".strip(),
        "\n".join(shorter),
    ]


def _meaning(calls: Sequence[str], data: Mapping[str, str]) -> str:
    """Return what the variables in some calls must name."""
    used = dict.fromkeys(re.findall(r"\$(\w+)", " ".join(calls)))
    return " ".join(f"`{name}` is {data[name]}." for name in used)


def _broken(command: str) -> str:
    """Return a call in lines of at most some 100 characters, broken before options alone."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append("   ")
        lines[-1] += f" {part}" if lines[-1] else part
    return " \\\n".join(lines)


def _program(command: str) -> str:
    """Return the beginning of a call: program, command, scenario and strategy."""
    return " ".join(command.split()[:4])


# --- words and numbers ---


def number(figure: tables.Figure, decimals: int | None = None) -> str:
    """Return a figure with its interval, with its own number of decimals by default."""
    decimals = figure.decimals if decimals is None else decimals
    mean, half = f"{figure.mean:.{decimals}f}", figure.half_width
    return mean if half is None else f"{mean}{PLUS_MINUS}{half:.{decimals}f}"


def gain(gain: Gain, decimals: int) -> str:
    """Return a gain with its sign and its interval."""
    mean = _signed(gain.mean, decimals)
    return mean if gain.half_width is None else f"{mean}{PLUS_MINUS}{gain.half_width:.{decimals}f}"


def _signed(value: float, decimals: int = 2) -> str:
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _seeds(row: tables.Row) -> str:
    seeds = sorted(row.seeds or ())
    if not seeds:
        return "not recorded"
    is_run = seeds == list(range(seeds[0], seeds[-1] + 1))
    if len(seeds) == 1:
        return str(seeds[0])
    return f"{seeds[0]} to {seeds[-1]}" if is_run else f"{len(seeds)} of {seeds[0]} to {seeds[-1]}"


def anchor(name: str) -> str:
    """Return the anchor that GitHub and the site both give a heading."""
    return re.sub(r"[^\w\- ]", "", name).strip().lower().replace(" ", "-")


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
