"""Size limit of a replay buffer: samples, bytes, or a share of the samples seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from cl_suite.errors import UserError

BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Budget:
    """Size limit: a number of samples, of bytes, or a share of the training samples seen."""

    amount: Fraction
    unit: Literal["samples", "bytes", "share"]
    text: str

    def total(self, num_seen: int) -> int:
        """Return the budget in samples or bytes after `num_seen` samples."""
        return int(self.amount * num_seen if self.unit == "share" else self.amount)

    def quota(self, num_seen: int, num_classes: int, fixed_classes: int | None = None) -> int:
        """Return the limit for each class, in samples or bytes.

        A share of the samples seen is at least one sample for each class: a session of few images
        would otherwise have none.

        Args:
            num_seen: training samples seen so far.
            num_classes: classes seen so far.
            fixed_classes: final number of classes; None to share among the classes seen so far.

        Raises:
            UserError: if a number is less than one sample, or more than `fixed_classes` were seen.
        """
        if fixed_classes is not None and num_classes > fixed_classes:
            raise UserError(
                f"fixed_classes is {fixed_classes}, but {num_classes} classes were seen; pass the "
                "total number of classes, or null"
            )
        shares = fixed_classes or num_classes
        total = self.total(num_seen)
        if total < shares and self.unit == "share":
            return 1
        if total < shares:
            what = "byte" if self.unit == "bytes" else "sample"
            raise self.too_small(f"{total} {what}{'s' * (total != 1)}", shares)
        return total // shares

    def too_small(self, amount: str, num_classes: int) -> UserError:
        """Return the error for a budget that leaves a class without any sample."""
        return UserError(
            f"buffer {self.text} is {amount}: less than one sample for each of {num_classes} "
            f"classes; pass a larger one, such as {20 * num_classes} (samples)"
        )


def parse_budget(text: str | int) -> Budget:
    """Parse a budget: "500" samples, "2MB" or "300kB", or "1%".

    Raises:
        UserError: for anything else.

    Example:
        >>> parse_budget("1%").total(num_seen=950)
        9
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*|%)", str(text).strip())
    if found is not None and not isinstance(text, bool):
        amount, unit = Fraction(found.group(1)), found.group(2).lower()
        if unit == "%" and 0 < amount <= 100:
            return Budget(amount / 100, "share", str(text))
        if unit in BYTES and amount * BYTES[unit] >= 1:
            return Budget(amount * BYTES[unit], "bytes", str(text))
        if not unit and amount >= 1 and amount.denominator == 1:
            return Budget(amount, "samples", str(text))
    raise UserError(
        f"buffer '{text}' is not a budget; pass a number of samples (500), of bytes (2MB, 300kB), "
        "or a share of the training samples up to 100% (1%)"
    )


def check_budget(
    budget: str | int,
    session_classes: Sequence[Sequence[int]],
    session_sizes: Sequence[int],
    fixed_classes: int | None = None,
) -> None:
    """Raise `UserError` if some session would leave a class without a sample; a share never does.

    The bytes of a sample are unknown until it is encoded. For a budget in bytes only obvious cases
    are therefore found.

    Args:
        session_classes: class ids that each session brings.
        session_sizes: training samples of each session.
        fixed_classes: see `QuotaBuffer`.
    """
    parsed = parse_budget(budget)
    seen: set[int] = set()
    num_seen = 0
    for classes, size in zip(session_classes, session_sizes, strict=True):
        seen |= set(classes)
        num_seen += size
        parsed.quota(num_seen, len(seen), fixed_classes)
