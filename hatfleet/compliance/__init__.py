"""Compliance: the roles' checks, run on devices and reported as evidence.

A role's checks import their words from here: :func:`control` and :func:`not_applicable`, and for sentences about many
things :func:`agree`, :func:`none_of` and :func:`words`.
"""

from hatfleet.compliance.marks import control, not_applicable
from hatfleet.compliance.words import agree, none_of, words

__all__ = ["agree", "control", "none_of", "not_applicable", "words"]
