"""The one exception that reaches the user as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Unusable input; the message names the thing, the value and the remedy.

    The command line prints the message as one line and exits with code 2.
    """


def suggestion(value: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean 'x'?`, or the known values if none is near.

    Args:
        cutoff: how similar a value must be to be offered, in [0, 1].

    Example:
        >>> suggestion("teeen", ["teen", "joint"])
        "; did you mean 'teen'?"
        >>> suggestion("zzz", ["teen", "joint"])
        '; known: joint, teen'
    """
    known = sorted(known)
    near = difflib.get_close_matches(value, known, n=1, cutoff=cutoff)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"
