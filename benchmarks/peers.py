"""Libraries that the suite is compared with; none is needed to run the suite."""

from __future__ import annotations

import importlib.util


def installed(module: str, notes: list[str]) -> bool:
    """Return whether a library is installed; if not, a sentence is added to the notes once."""
    if importlib.util.find_spec(module) is not None:
        return True
    note = (
        f"{module} is not installed, so nothing is compared with it; "
        "install the extra: pip install 'cl-suite[benchmarks]'"
    )
    if note not in notes:
        notes.append(note)
    return False
