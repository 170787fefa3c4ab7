"""Inventories: which devices there are, in Ansible's YAML shape, and what is said about each."""
