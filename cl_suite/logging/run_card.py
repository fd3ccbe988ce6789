"""A run in words, as Markdown: what it is, on what, the command that repeats it, its sessions."""

from __future__ import annotations

from collections.abc import Sequence

from cl_suite import registry
from cl_suite.data.stream import StreamInfo
from cl_suite.runs.changed import changed_settings, repeating_command
from cl_suite.runs.config import RunConfig
from cl_suite.runs.folder import SessionRecord

MOST_ROWS = 100  # of the table; of more sessions, the last ones
COLUMNS = {  # of the table, by field of a session's record
    "accuracy": "all",
    "base": "base",
    "new": "new",
    "harmonic": "harmonic",
    "gacc": "gAcc",
    "forgetting": "forgetting",
}


def run_card(config: RunConfig, info: StreamInfo, num_tasks: int = 1) -> str:
    """Return what a run is, on what, and the command that repeats it.

    Args:
        num_tasks: streams of the run; the facts are those of the first.
    """
    scenario, strategy = config.scenario_name, config.strategy_name
    changed = changed_settings(config)
    settings = [f"`{key}: {value}`" for key, value in changed.items()]
    lines = [
        f"### {scenario} / {strategy}, seed {config.seed}",
        "",
        f"- **strategy** {strategy}: {_summary('strategy', strategy)}".rstrip(": "),
        f"- **scenario** {scenario}: {_summary('scenario', scenario)}".rstrip(": "),
        f"- **stream** {_stream_in_words(info, num_tasks)}",
        f"- **network** {' + '.join(config.model.networks)}, {_weights_in_words(config)}",
        f"- **changed settings** {', '.join(settings) or 'none'}",
        "",
        "Run it again:",
        "",
        f"    {repeating_command(config)}",
    ]
    return "\n".join(lines)


def _summary(kind: registry.Kind, name: str) -> str:
    known = registry.entries(kind).get(name)
    return "" if known is None else known.summary


def session_table(records: Sequence[SessionRecord]) -> str:
    """Return the sessions' figures as a table, per cent and points."""
    shown = records[-MOST_ROWS:]
    lines = [
        f"| session | classes | {' | '.join(COLUMNS.values())} | training |",
        "| --: " * (len(COLUMNS) + 3) + "|",
    ]
    for record in shown:
        figures = " | ".join(_percent(getattr(record, name)) for name in COLUMNS)
        lines.append(
            f"| {record.session} | {record.seen_classes} | {figures} | "
            f"{record.seconds_train:.1f} s |"
        )
    if len(shown) < len(records):
        lines += ["", f"The last {len(shown)} of {len(records):,} sessions."]
    return "\n".join(lines)


def _stream_in_words(info: StreamInfo, num_tasks: int) -> str:
    sizes = [len(set(classes)) for classes in info.session_classes]
    words = f"{info.num_classes:,} classes in {len(sizes):,} sessions"
    if len(sizes) > 1:
        later = sorted(set(sizes[1:]))
        each = f"{later[0]}" if len(later) == 1 else f"{later[0]} to {later[-1]}"
        words += f": {sizes[0]:,} in the base session, {each} in each later one"
    if info.shots is not None:
        words += f", {info.shots} samples a new class"
    first = f"{num_tasks:,} tasks; the first: " if num_tasks > 1 else ""
    return f"{first}{words}; fingerprint `{info.fingerprint[:12]}`"


def _weights_in_words(config: RunConfig) -> str:
    if config.start_from is not None:
        return f"after the base session of {config.start_from}"
    if config.model.weights is not None:
        return f"from {config.model.sources}"
    return "from published weights" if config.model.pretrained else "from random weights"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.2f}"
