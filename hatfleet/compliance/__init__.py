"""Compliance: the roles' checks, run on devices and reported as evidence.

A role's ``checks.py`` imports its two words, :func:`control` and :func:`not_applicable`, from here.
"""

from hatfleet.compliance.marks import control, not_applicable

__all__ = ["control", "not_applicable"]
