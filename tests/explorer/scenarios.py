"""Importing this registers all scenarios; there is one file for each kind of primitive."""

from . import (
    adaptive,
    barriers,
    bounded,
    deadlines,
    groups,
    limiters,
    locks,
    maps,
    owners,
    queues,
    tasks,
    timeouts,
    waiting,
)

__all__ = [
    "adaptive",
    "barriers",
    "bounded",
    "deadlines",
    "groups",
    "limiters",
    "locks",
    "maps",
    "owners",
    "queues",
    "tasks",
    "timeouts",
    "waiting",
]
