"""The engine: how roles run on targets. Only the worker process uses all of it (it imports pyinfra)."""
