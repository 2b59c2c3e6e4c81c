"""Runs of iterations, first and last of each: what is told of many stays small, however many."""

from collections.abc import Iterable

__all__ = ["Run", "joined", "length", "without"]

Run = tuple[int, int]
"""First and last."""


def joined(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Return runs ascending and apart.

    >>> joined([(5, 6), (1, 2), (3, 3), (2, 3)])
    ((1, 3), (5, 6))
    """
    found: list[Run] = []
    for first, last in sorted(runs):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def without(runs: Iterable[Run], others: Iterable[Run]) -> tuple[Run, ...]:
    """Return what of ``runs`` is in none of ``others``; both ascend, each apart.

    >>> without([(1, 9), (12, 14)], [(2, 3), (9, 12), (20, 20)])
    ((1, 1), (4, 8), (13, 14))
    """
    cuts = list(others)
    found: list[Run] = []
    at = 0
    for first, last in runs:
        while at < len(cuts) and cuts[at][1] < first:
            at += 1
        begin, cut = first, at
        while cut < len(cuts) and cuts[cut][0] <= last:
            if begin < cuts[cut][0]:
                found.append((begin, cuts[cut][0] - 1))
            begin = cuts[cut][1] + 1
            cut += 1
        if begin <= last:
            found.append((begin, last))
        at = max(at, cut - 1)
    return tuple(found)


def length(runs: Iterable[Run]) -> int:
    """Return how many iterations runs have that are apart.

    >>> length([(1, 3), (5, 5)])
    4
    """
    return sum(last - first + 1 for first, last in runs)
