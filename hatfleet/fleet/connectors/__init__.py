"""How pyinfra reaches a target: a device over SSH (``node``) or a root file system being built (``rootfs``)."""
