"""The command `cl-suite bank`: lists or clears the feature bank."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from cl_suite.features import bank_store
from cl_suite.report.console import plain_console, print_columns


def print_bank(console: Console | None = None) -> None:
    """Print the entries of the feature bank, largest first, and their total size."""
    console = console or plain_console()
    folder = bank_store.default_folder()
    found = bank_store.entries(folder)
    if found:
        titles = ("entry", "type", "images", "numbers each", "size")
        rows = [
            (
                entry.name,
                entry.dtype or "damaged",
                f"{entry.num_images:,}",
                f"{entry.dim:,}",
                readable(entry.num_bytes),
            )
            for entry in found
        ]
        print_columns(console, titles, rows, right="images,numbers each,size")
        console.print()
        for entry in found:
            made = entry.key.get("preprocessing", "damaged")
            console.print(f"{entry.name}: {made}", soft_wrap=True, style="dim")
    total = readable(sum(entry.num_bytes for entry in found))
    count = f"{len(found)} {'entry' if len(found) == 1 else 'entries'}"
    console.print(f"{count}, {total}, in {folder}", soft_wrap=True)


def clear_bank(names: Sequence[str], console: Console | None = None) -> None:
    """Delete entries (all if there are no names), and print the freed size.

    Raises:
        UserError: if a name has no entry.
    """
    console = console or plain_console()
    folder = bank_store.default_folder()
    freed = bank_store.clear(folder, names or None)
    console.print(f"{readable(freed)} freed in {folder}", soft_wrap=True)


def readable(num_bytes: int) -> str:
    """Return a size with a readable unit.

    Example:
        >>> readable(1_234_567)
        '1.2 MB'
    """
    size, unit = float(num_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
