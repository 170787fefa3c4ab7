"""hatfleet: build, provision and prove a fleet of Raspberry Pi 5 boards from one set of roles."""

from importlib.metadata import version

__version__ = version("hatfleet")
