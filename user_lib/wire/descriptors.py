"""File descriptors: a connection takes one, and most systems allow a process few unless it asks."""

import resource

__all__ = ["RESERVE", "connections_that_fit", "descriptor_shortage", "raise_descriptor_limit"]

RESERVE = 1024
"""For everything that is no connection."""
RESERVED_SHARE = 8
"""At least one of so many is for connections that are not known of yet, or on their way out."""


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as the system lets it have; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connections_that_fit(wanted: int) -> int:
    """Return how many of the wanted connections this process can have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    reserve = max(RESERVE, limit // RESERVED_SHARE)
    return min(wanted, max(limit - reserve, limit // 2))


def descriptor_shortage(limit: int, connections: int) -> str:
    """Say that ``limit`` is too low for so many connections, and who must act; empty when it isn't.

    Beyond the limit a connection is not refused, it just never comes about.
    """
    needed = max(connections + RESERVE, -(-connections * RESERVED_SHARE // (RESERVED_SHARE - 1)))
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return ""
    return (
        f"{connections} connections need {needed} file descriptors and this process may have "
        f"{limit}: raise the hard limit (`ulimit -Hn`, or LimitNOFILE= of the service), or "
        "vehicles beyond it cannot connect"
    )
