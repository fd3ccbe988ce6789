"""The one exception that reaches the user as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Input that cannot be used: names the thing, the value and the remedy.

    The command line prints it as one line and ends with exit code 2.
    """


def suggestion(value: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the known values where nothing is near.

    Example:
        >>> suggestion("teeen", ["teen", "joint"])
        "; did you mean 'teen'?"
        >>> suggestion("zzz", ["teen", "joint"])
        '; known: joint, teen'
    """
    known = sorted(known)
    near = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"
