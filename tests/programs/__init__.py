"""Real programs, unchanged, on each loop, against real servers."""
