"""The report as one page of HTML that loads nothing: style, script and pictures are inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

import jinja2
from matplotlib import colormaps
from matplotlib.colors import to_hex

from cl_suite import __version__
from cl_suite.report.html.facts import one_a_folder
from cl_suite.report.html.sections import section_of
from cl_suite.report.streams import StreamRuns, identity

STEPS = 9  # of the bar that explains a heat map's colours


def page(streams: Sequence[StreamRuns], notes: Sequence[str]) -> str:
    """Return the page of these streams; the same runs give the same text.

    Args:
        streams: see `streams_of`.
        notes: sentences on runs that are left out, or whose training went wrong.

    Raises:
        UserError: if the settings of a run cannot be read.
    """
    sections = [section_of(stream, number) for number, stream in enumerate(streams)]
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _file("page.js")
    return environment.get_template("page.html").render(
        sections=sections,
        notes=notes,
        summary=_summary(streams),
        version=__version__,
        style=_file("page.css"),
        script=script,
        script_hash=_digest(script),
        scale=[to_hex(colormaps["viridis"](i / (STEPS - 1))) for i in range(STEPS)],
    )


def _summary(streams: Sequence[StreamRuns]) -> str:
    """Return how much there is on the page."""
    runs = one_a_folder(run for s in streams for method in s.methods for run in method.runs)
    methods = {(run.strategy_name, identity(run.method)) for run in runs}
    scenarios = {run.scenario_name for run in runs}
    counts = {"method": len(methods), "run": len(runs), "scenario": len(scenarios)}
    return ", ".join(f"{num:,} {word}{'s' * (num != 1)}" for word, num in counts.items())


def _digest(script: str) -> str:
    """Return the digest by which a browser knows the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _file(name: str) -> str:
    return (resources.files("cl_suite.report.html") / "templates" / name).read_text("utf-8")
