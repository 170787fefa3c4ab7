"""Fault injection: runs that are interrupted on purpose, on nodes of bench.nodes or on lab devices.

It is a library: ``python -m bench.faults`` and the fleet tests use it.
"""
