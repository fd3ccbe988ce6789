"""Prints the page on reproduction, or writes it.

    python docs/reproduction.py --write    to docs/reproduction.md, and its table to README.md

It joins `benchmarks/reproduction.yaml`, which is written by hand, with the measured figures of
`benchmarks/results`. Run it after either has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cl_suite.storage.files import atomic_write
from site_writer import reproduction

PAGE = Path(__file__).resolve().parent / "reproduction.md"
README = Path(__file__).resolve().parents[1] / "README.md"


def main() -> int:
    """Print or write the page; return 2, with one sentence, if facts and figures do not fit."""
    try:
        text = reproduction.page()
        readme = reproduction.readme(README.read_text("utf-8"))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if "--write" in sys.argv[1:]:
        # as a whole, and only now: a refusal leaves both pages as they were
        atomic_write(PAGE, text.encode())
        atomic_write(README, readme.encode())
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
