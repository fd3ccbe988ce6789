"""Turns a matplotlib figure into SVG that lies in a page and takes its colours from the page.

Colours are drawn as stand-ins, which become CSS variables here, so one picture serves a light page,
a dark page and paper. Text stays text, in the page's font. The same figure gives the same bytes.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

INK, LINE, MUTED, SURFACE = "#00fa01", "#00fa02", "#00fa03", "#00fa04"
NUM_COLOURS = 10
DASHES = ("solid", (0, (5, 2)), (0, (1.2, 1.6)))  # of methods 0 to 9, 10 to 19, and the rest
_COLOURS = {
    INK: "currentColor",
    LINE: "var(--line)",
    MUTED: "var(--muted)",
    SURFACE: "var(--surface)",
}
_SETTINGS: dict[Any, Any] = {  # rc_context lists the names that it knows as literals
    "svg.fonttype": "none",
    "svg.hashsalt": "cl-suite",
    "font.family": ["DejaVu Sans"],  # what is measured; comes with matplotlib
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a method may be called "$a$"
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw figures inside the block in the style of the page, whatever the user's settings."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # a script that the font lacks is measured as boxes; the browser has its own fonts
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def colour(method: int) -> str:
    """Return the stand-in for the colour of the method at this place."""
    return f"#00fb{method % NUM_COLOURS:02x}"


def mark_series(artist: Artist, method: int, *, band: bool = False) -> None:
    """Give what belongs to a method its class, by which the page can bring it out."""
    artist.set_gid(f"series-{method}{'-band' if band else ''}")


def inline(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an `svg` element for a page.

    Args:
        name: begins its ids, which are unique in the page only then.
        label: what it shows, for those who do not see it.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'([" ])font: ([\d.]+px) [^;"]*', r"\1font-size: \2", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)  # a hundredth of a pixel is enough
    text = re.sub(r"#00f([ab])([0-9a-f]{2})\b", _page_colour, text)
    shown = f'role="img" aria-label="{html.escape(label)}"'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {shown} \1>", text, count=1)
    return re.sub(r">\s+<", "><", _own_ids(text, name))


def _page_colour(found: re.Match[str]) -> str:
    if found[1] == "a":
        return _COLOURS[found[0]]
    return f"var(--m{int(found[2], 16)})"


def _own_ids(text: str, name: str) -> str:
    """Keep the ids that are used, under names of their own; those of methods become classes."""
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', text))
    wanted = {id for pair in used for id in pair if id}

    def kept(found: re.Match[str]) -> str:
        id = found[1]
        if series := re.fullmatch(r"series-(\d+)(-band)?", id):
            band = " band" if series[2] else ""
            return f' class="series{band} m{series[1]}"'
        return f' id="{name}-{id}"' if id in wanted else ""

    text = re.sub(r' id="([^"]*)"', kept, text)
    text = text.replace("url(#", f"url(#{name}-")
    text = text.replace('xlink:href="#', f'href="#{name}-')
    return text.replace("xlink:href=", "href=")  # an image's data
