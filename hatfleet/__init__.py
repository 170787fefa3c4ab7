"""hatfleet: build, provision and prove a fleet of Raspberry Pi 5 boards from one set of roles."""

__version__ = "0.1.0"
