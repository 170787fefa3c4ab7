"""The command line on a device; argparse, because every package more is laid onto every device."""
