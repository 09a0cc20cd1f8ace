"""Tests of what a program limits itself by."""
