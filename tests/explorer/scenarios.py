"""Importing this registers all scenarios; there is one file for each kind of primitive."""

from . import adaptive, barriers, groups, limiters, locks, queues, tasks, timeouts, waiting

__all__ = ["adaptive", "barriers", "groups", "limiters", "locks", "queues", "tasks", "timeouts", "waiting"]
