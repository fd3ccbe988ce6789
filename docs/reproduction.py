"""Prints the page on reproduction.

    python docs/reproduction.py > docs/reproduction.md

It joins `benchmarks/reproduction.yaml`, which is written by hand, with the measured figures of
`benchmarks/results`. Run it after either has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from site_writer import reproduction


def main() -> int:
    """Print the page; return 2, with one sentence, if the facts do not fit the figures."""
    try:
        text = reproduction.page()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
