"""The Python environment that a device runs models with: locked, fetched and put together here, not on the device.

What it needs is what hatserve needs (``hatserve/pyproject.toml``). pip resolves that for the device's processor and
Python, and a lock keeps exactly those wheels by their sha256. From the wheels a tree is made, without pip on the
device, without a compiler and without running a program of another processor: unpacking a wheel is copying files.
"""
