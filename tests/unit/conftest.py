"""The fixtures that these tests share with others; pytest looks for them here."""

from tests.loopback import make_job, make_role, server

__all__ = ["make_job", "make_role", "server"]
