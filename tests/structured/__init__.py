"""Tests of those who start others, and wait for them."""
