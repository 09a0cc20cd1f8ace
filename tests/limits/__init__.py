"""Tests of limiters: so much at once, or in a time."""
