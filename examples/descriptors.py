"""The limit of file descriptors, which a program that opens thousands of connections soon meets."""

from __future__ import annotations

import resource

# What a process has open besides its connections: standard streams, the loop, files being served.
OTHERS = 200


def make_room(connections: int) -> str | None:
    """Raise the soft limit of open files so that `connections` fit, as far as the hard limit lets us.

    Returns:
        None if they fit, or a sentence that says what is missing.
    """
    needed = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return None
    reachable = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    if reachable == needed:
        return None
    return (
        f"{connections:,} connections at once need {needed:,} file descriptors, but the hard limit here is "
        f"{hard:,}: raise it (ulimit -Hn {needed}), or fetch fewer files (--files {max(1, hard - OTHERS)})"
    )
