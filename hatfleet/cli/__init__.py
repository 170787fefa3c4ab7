"""The command line ``provision``: one module a command group; it parses, calls and prints, nothing else."""
