"""What a device in service is: run by ``provision plan``, ``apply`` and ``check`` when no other deploy is named.

Roles run in this order; base comes first because it opens the admin's way in before harden closes others.
"""

ROLES = ("base", "harden", "governor", "runtimes", "accelerator")
