"""The tools that are measured: each writes the work down in its own words and says how it is run."""

from bench.tools.ansible import Ansible
from bench.tools.base import Access, Invocation, Tool
from bench.tools.bundlewrap import Bundlewrap
from bench.tools.ours import Ours
from bench.tools.pyinfra import Pyinfra

__all__ = ["Access", "Ansible", "Bundlewrap", "Invocation", "Ours", "Pyinfra", "Tool"]
