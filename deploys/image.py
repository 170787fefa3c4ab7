"""What every image holds, unless its recipe names roles of its own; the order is that of the deploy ``site``."""

ROLES = ("base", "harden", "governor", "runtimes", "accelerator")
