"""What runs on a hatfleet device: the accelerator's health, model runtimes and signed inference."""

__version__ = "0.1.0"
