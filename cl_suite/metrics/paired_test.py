"""Exact tests of counts: what chance alone would explain."""

from __future__ import annotations


def chance_of_at_least(count: int, num: int, probability: float) -> float:
    """Return the chance of `count` or more successes in `num` independent trials.

    Example:
        >>> chance_of_at_least(3, 3, 0.5)
        0.125
    """
    if not 0 <= count <= num:
        raise ValueError(f"{num} trials cannot have {count} successes")
    if count == 0:
        return 1.0
    # scipy.special has the binomial's tail too, and imports far faster than scipy.stats
    from scipy.special import bdtrc

    return float(bdtrc(count - 1, num, probability))


def chance_of_losing(lost: int, gained: int) -> float:
    """Return the chance that of all changed samples at least `lost` were lost, by a fair coin.

    One side of the exact test of McNemar (1947): samples that are right before and after, or wrong
    before and after, say nothing of a change.

    Args:
        lost: samples that were right before and are wrong after.
        gained: samples that were wrong before and are right after.

    Example:
        >>> round(chance_of_losing(10, 0), 5), chance_of_losing(0, 0)
        (0.00098, 1.0)
    """
    return chance_of_at_least(lost, lost + gained, 0.5)
