"""Whole programs of ours, run as a user runs them: slower than unit tests, without an emulated device."""
