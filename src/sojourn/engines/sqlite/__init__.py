"""Sessions in one SQLite file: the default engine."""
