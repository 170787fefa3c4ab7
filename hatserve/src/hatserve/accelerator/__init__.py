"""The accelerator's health: what is there, whether it answers, and how it comes back when it does not.

Everything is read from sysfs, the device nodes and the maker's own command line program; nothing of HailoRT is loaded
into this process, because a chip that does not answer would take it along.
"""
