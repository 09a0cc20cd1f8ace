"""Importing this registers all scenarios; there is one file for each kind of primitive."""

from . import barriers, groups, limits, locks, queues, tasks, timeouts, waiting

__all__ = ["barriers", "groups", "limits", "locks", "queues", "tasks", "timeouts", "waiting"]
