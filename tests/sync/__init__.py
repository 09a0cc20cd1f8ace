"""Synchronisation between tasks: locks, semaphores, events, conditions and barriers."""
