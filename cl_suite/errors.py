"""The one exception that reaches the user as a sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

LONGEST_SHOWN = 120  # characters of a path in a message
MOST_NAMED = 60  # names in a message

_REFUSALS = {  # the end of a sentence that begins with the path
    errno.EACCES: "cannot be {verb}: you have no permission; change it, or choose another place",
    errno.EPERM: "cannot be {verb}: you have no permission; change it, or choose another place",
    errno.EROFS: "cannot be {verb}: its file system is read-only; choose another place",
    errno.EISDIR: "cannot be {verb}: it is a folder, and a file is expected; move it away",
    errno.ENOTDIR: (
        "cannot be {verb}: a part of the path is a file, and a folder is expected; move it away, "
        "or choose another place"
    ),
    errno.ENAMETOOLONG: "cannot be {verb}: the path is too long; choose a shorter one",
    errno.ELOOP: "cannot be {verb}: its links lead in a circle; correct them",
    errno.EMFILE: "cannot be {verb}: too many files are open; raise the limit by `ulimit -n`",
}


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
    if (near := nearest(value, known, cutoff)) is not None:
        return f"; did you mean '{near}'?"
    more = f", ... ({len(known):,} in all)" if len(known) > MOST_NAMED else ""
    return f"; known: {', '.join(known[:MOST_NAMED]) or 'none'}{more}"


def nearest(value: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the most similar of the known values; None if none is near (see `suggestion`)."""
    near = difflib.get_close_matches(value, sorted(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def os_refusal(
    error: OSError, path: str | os.PathLike[str] | None = None, verb: str = "used"
) -> str:
    """Return the sentence for an operating system's refusal.

    Args:
        path: the file or folder; None for the one that the error names.
        verb: what was tried, as in "cannot be written".

    Example:
        >>> os_refusal(OSError(errno.EISDIR, "Is a directory"), "runs/a", "read")
        "'runs/a' cannot be read: it is a folder, and a file is expected; move it away"
    """
    shown = _shortened(os.fsdecode(path or error.filename or "a file"))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full while writing '{shown}'; free some space and repeat the command (a "
            "run goes on by --resume)"
        )
    if error.errno in _REFUSALS:
        return f"'{shown}' {_REFUSALS[error.errno].format(verb=verb)}"
    reason = " ".join(str(error.strerror or error).split())
    return (
        f"'{shown}' cannot be {verb} ({reason}); check that its folder exists and that you may "
        "use it"
    )


def _shortened(path: str) -> str:
    path = " ".join(path.split("\n"))
    return path if len(path) <= LONGEST_SHOWN else f"{path[:60]}...{path[-57:]}"


_ON_COMMAND_LINE: ContextVar[bool] = ContextVar("on_command_line", default=False)
_PYTHON = {"true": "True", "false": "False", "null": "None"}


@contextlib.contextmanager
def on_command_line() -> Iterator[None]:
    """Let messages inside the block name options as the command line does."""
    token = _ON_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(token)


def option(name: str, value: object = None) -> str:
    """Return how a user sets an option, on the command line or in a program.

    Args:
        name: section and key, such as `strategy.groups`; in a program the parameters of a strategy
            or a scenario are arguments of its class.
        value: as the command line takes it, or a list; None for the option's name alone. `N` stands
            for a number.

    Example:
        >>> option("strategy.groups", "bn+fc"), option("model.frozen", "false")
        ("groups='bn+fc'", 'model.frozen=False')
        >>> with on_command_line():
        ...     option("strategy.groups", "bn+fc")
        '--strategy.groups bn+fc'
    """
    if _ON_COMMAND_LINE.get():
        shown = f"[{','.join(map(str, value))}]" if isinstance(value, list) else value
        return f"--{name}" if value is None else f"--{name} {shown}"
    key = name.removeprefix("strategy.").removeprefix("scenario.")
    return key if value is None else f"{key}={_in_python(value)}"


def _in_python(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    return _PYTHON.get(value) or (value if value.isnumeric() or value == "N" else repr(value))
