"""Turns jsonargparse's error messages into one sentence for the user."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

from cl_suite.errors import UserError

_KINDS = {  # by the parser's names; `cl_suite.parameters` uses the same words
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": "a mapping",
    "list": "a list",
    "Sequence": "a list",
    "NoneType": "null",
}
LONGEST_SHOWN = 80  # characters of a value in a message
_VALUES = {"None": "null", "True": "true", "False": "false"}


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn the parser's messages of several lines into a `UserError` of one sentence."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except UserError:
        raise
    except SystemExit as end:
        if end.code not in (0, None):
            raise UserError("the command line cannot be understood") from end
        raise
    except RecursionError as error:
        raise UserError("a value is nested too deeply; pass a simpler one") from error
    except Exception as error:
        text = " ".join(str(error).split())
        if found := re.match(r'Parser key "([^"]+)"(?: element \d+)?: (.*)', text):
            key, reason = found.groups()
            raise UserError(f"--{key} {_in_words(reason)}") from error
        if found := re.search(r"arguments are required: ([\w.]+)", text):
            raise UserError(f"--{found.group(1)} is required; pass its value") from error
        raise UserError(text) from error


def _in_words(reason: str) -> str:
    """Return the parser's reason as the end of a sentence that begins with the parameter."""
    found = re.match(r".*Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: (.*)", reason)
    if found is None:
        found = re.match(r"Expected an? (.*?)\. Got value: (.*)", reason)
    if found is None:
        return f"cannot be read: {reason}"
    kinds, value = found.groups()
    # split at the commas between kinds, not at those within a kind's brackets
    members = re.findall(r"(?:[^,\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])+", kinds)
    words = [_kind_in_words(member.strip()) for member in members]
    words.sort(key=lambda kind: kind.startswith("a list"))  # its items come last
    value = _VALUES.get(value, value)
    if len(value) > LONGEST_SHOWN:
        value = f"{value[:LONGEST_SHOWN]}..."
    return f"must be {' or '.join(words)}, got {value if value[:1] in '[{' else repr(value)}"


def _kind_in_words(kind: str) -> str:
    """Return the parser's name of a type, such as `list[<class 'str'>]`, in words."""
    name, _, inner = kind.removeprefix("<class '").removesuffix("'>").partition("[")
    name = name.rpartition(".")[2]
    if name == "Literal":
        words = inner[:-1].replace(chr(39), "")
        return f"one of {words}" if "," in words else words
    if name in ("list", "Sequence") and inner:
        return f"a list whose items must be {_kind_in_words(inner[:-1])}"
    return _KINDS.get(name, f"of kind {name}")
