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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, LINE, MUTED, SURFACE = "#00fa01", "#00fa02", "#00fa03", "#00fa04"
SIZE = (5.2, 3.3)  # inches of 72 pixels
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


def new_axes(
    x: str, y: str, *, height: float | None = None, size: tuple[float, float] = SIZE
) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes in the style of the page; see `style`.

    Args:
        x, y: what they count.
        height: inches; that of `size` by default.
        size: width and height in inches of 72 pixels.
    """
    figure = Figure(figsize=(size[0], height or size[1]), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.tick_params(length=3, pad=4)
    return figure, axes


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
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|xlink:href=")#([^)"]+)', text))
    # in tags alone: a name between them is text, whatever it looks like
    text = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag[0], name, used), text)
    text = re.sub(r">\s+<", "><", text.strip())
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _page_tag(tag: str, name: str, used: set[str]) -> str:
    """Return a tag with the page's colours and font, and an id of its own if it is used."""
    tag = re.sub(r'([" ])font: ([\d.]+px) [^;"]*', r"\1font-size: \2", tag)
    tag = re.sub(r'font-family: [^;"]*;? ?', "", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)  # a hundredth of a pixel is enough
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r' d="([^"]*)"', lambda found: f' d="{_short_path(found[1])}"', tag)
    tag = re.sub(r"#00f([ab])([0-9a-f]{2})\b", _page_colour, tag)
    if tag.startswith("<svg"):
        return re.sub(r'<svg .*?(viewBox="[^"]*").*', r"<svg \1>", tag, flags=re.DOTALL)
    tag = re.sub(r' id="([^"]*)"', lambda found: _own_id(found[1], name, used), tag)
    tag = tag.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    return tag.replace("xlink:href=", "href=")  # an image's data


def _short_path(path: str) -> str:
    """Return a path's commands without what a browser does not need."""
    path = re.sub(r"(\.\d*?)0+\b", r"\1", path)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", re.sub(r"\.(?!\d)", "", path)).strip()


def _page_colour(found: re.Match[str]) -> str:
    return _COLOURS[found[0]] if found[1] == "a" else f"var(--m{int(found[2], 16)})"


def _own_id(id: str, name: str, used: set[str]) -> str:
    """Return the attribute for an id: a class for a method's, and nothing for one without use."""
    if series := re.fullmatch(r"series-(\d+)(-band)?", id):
        band = " band" if series[2] else ""
        return f' class="series{band} m{series[1]}"'
    return f' id="{name}-{id}"' if id in used else ""
