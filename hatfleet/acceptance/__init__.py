"""Acceptance of a built image: what can be judged on its files, and what only shows when it runs.

The build has put the gate and the roles' checks to the root file system; ``booted`` starts the image as a throw-away
device of the lab and puts the same checks to it. ``report`` is what comes of both.
"""
