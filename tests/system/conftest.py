"""The fixtures that these tests share; pytest looks for them here."""

from tests.loopback import make_job, make_role, server
from tests.system.signed_release import built, key, keys, release

__all__ = ["built", "key", "keys", "make_job", "make_role", "release", "server"]
