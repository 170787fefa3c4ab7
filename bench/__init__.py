"""Measurements; their results stand in docs/benchmarks.md."""
