"""The command `cl-suite bank`: lists or clears the feature bank."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from cl_suite.features import bank_store


def print_bank(console: Console | None = None) -> None:
    """Print the entries of the feature bank, largest first, and their total size."""
    console = console or Console()
    folder = bank_store.default_folder()
    found = bank_store.entries(folder)
    if found:
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for title in ("entry", "images", "numbers each", "type", "size"):
            left = title in ("entry", "type")
            table.add_column(title, justify="left" if left else "right", no_wrap=True)
        for entry in found:
            table.add_row(
                entry.name,
                f"{entry.num_images:,}",
                f"{entry.dim:,}",
                entry.dtype or "damaged",
                readable(entry.num_bytes),
            )
        console.print(table)
        console.print()
        for entry in found:
            console.print(
                f"{entry.name}: {entry.key.get('preprocessing', 'damaged')}",
                highlight=False,
                soft_wrap=True,
                style="dim",
            )
    total = readable(sum(entry.num_bytes for entry in found))
    count = f"{len(found)} {'entry' if len(found) == 1 else 'entries'}"
    console.print(f"{count}, {total}, in {folder}", highlight=False, soft_wrap=True)


def clear_bank(names: Sequence[str], console: Console | None = None) -> None:
    """Delete entries (all if there are no names), and print the freed size.

    Raises:
        UserError: if a name has no entry.
    """
    console = console or Console()
    folder = bank_store.default_folder()
    freed = bank_store.clear(folder, names or None)
    console.print(f"{readable(freed)} freed in {folder}", highlight=False, soft_wrap=True)


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
