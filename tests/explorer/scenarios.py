"""Importing this registers all scenarios; there is one file for each kind of primitive."""

from . import barriers, bounded, deadlines, groups, limiters, locks, maps, queues, tasks, timeouts, waiting

__all__ = [
    "barriers",
    "bounded",
    "deadlines",
    "groups",
    "limiters",
    "locks",
    "maps",
    "queues",
    "tasks",
    "timeouts",
    "waiting",
]
