"""What every other package may use: errors with hints, the subprocess runner, progress, paths, locks, YAML."""
