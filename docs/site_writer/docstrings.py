"""Docstrings as Markdown: the lists and formulas of our modules, and the `Args` of our classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

ITEM = re.compile(r"^\s*(?P<mark>-|\d+\.|[A-Z]\.)\s+(?=\S)")
SECTION = re.compile(r"^(Args|Attributes|Class attributes|Returns|Raises|Example):$", re.MULTILINE)
ARGUMENT = re.compile(r"^ {4}(?P<names>[\w, ]+): (?P<text>.*(?:\n {8}.*)*)", re.MULTILINE)
SPHINX = re.compile(r"^\s*:param (?P<names>\w+): (?P<text>.*(?:\n(?!\s*:)\s*\S.*)*)", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Return a docstring as Markdown that shows its lists as lists and its formulas as code.

    Example:
        >>> print(to_markdown("With `x`:\\n\\n    L = x^2"))
        With `x`:
        <BLANKLINE>
        ```text
        L = x^2
        ```
    """
    found = ""
    before, margin = "", 0  # of a list item's text; 0 outside a list
    for kind, lines in _blocks(inspect.cleandoc(text)):
        margin = {"item": 4, "prose": 0}.get(kind, margin)
        inside = " " * margin
        if kind == "item":
            mark, words = lines[0].split(" ", 1)
            bullet = f"-   **{mark}** " if mark[0].isupper() else f"{mark:<4}"
            block = bullet + _prose([words, *lines[1:]], inside)
        elif kind == "code":
            block = "\n".join(inside + line for line in ("```text", *lines, "```"))
        else:
            block = inside + _prose(lines, inside)
        gap = "\n" if before == kind == "item" else "\n\n"
        found += (gap if found else "") + block
        before = kind
    return found


def sections(text: str) -> tuple[str, str]:
    """Return what a docstring says before its sections, and its sections."""
    clean = inspect.cleandoc(text)
    found = SECTION.search(clean)
    return (
        (clean, "") if found is None else (clean[: found.start()].strip(), clean[found.start() :])
    )


def arguments(text: str) -> dict[str, str]:
    """Return what a docstring says of each parameter, in Google's form or in Sphinx's.

    Example:
        >>> arguments("A head.\\n\\nArgs:\\n    scale, shift: of the\\n        rows.")
        {'scale': 'of the rows.', 'shift': 'of the rows.'}
    """
    clean = inspect.cleandoc(text)
    _, sectioned = sections(clean)
    body = re.split(r"^\S.*:$", sectioned.removeprefix("Args:\n"), maxsplit=1, flags=re.MULTILINE)
    google = ARGUMENT.finditer(body[0]) if sectioned.startswith("Args:") else iter(())
    return {
        name.strip(): " ".join(match["text"].split())
        for match in (*google, *SPHINX.finditer(clean))
        for name in match["names"].split(",")
    }


def escaped(text: str) -> str:
    """Return prose in which nothing outside backticks is read as HTML or emphasis."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*")
        for part in parts
    )


def _prose(lines: list[str], inside: str) -> str:
    # escaped as one text, since a pair of backticks may span lines
    return f"\n{inside}".join(escaped("\n".join(lines)).splitlines())


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the paragraphs, list items and blocks of code of a text, without their indentation."""
    kind, lines, margin, blank = "prose", list[str](), 0, False
    for line in [*text.splitlines(), None]:
        if line is not None and not line.strip():
            blank = True
            continue
        found, start = ("end", "") if line is None else _kind(line, margin)
        goes_on = found == kind and (kind == "code" or (kind == "prose" and not blank))
        if found == "rest":  # of the item under way, or a further paragraph of it
            goes_on = kind in ("item", "rest") and not blank
        if lines and not goes_on:
            yield kind, lines
            lines = []
        if line is None:
            return
        if found == "item":
            margin = len(start)
            line = line.strip()
        elif found == "prose":
            margin = 0
        if not goes_on:
            kind = found
        if goes_on and blank:
            lines.append("")
        lines.append(line[margin + 4 :] if kind == "code" else line.strip())
        blank = False


def _kind(line: str, margin: int) -> tuple[str, str]:
    item = ITEM.match(line)
    if item is not None:
        return "item", item[0]
    indentation = len(line) - len(line.lstrip())
    if indentation >= margin + 4:
        return "code", ""
    return ("rest", "") if margin and indentation >= margin else ("prose", "")
