"""Tests of limiters, and of what else a program limits itself by."""
