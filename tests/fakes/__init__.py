"""Doubles of what cannot be had here, each held to facts taken from the real thing."""
