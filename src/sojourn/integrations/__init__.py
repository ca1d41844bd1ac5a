"""Sojourn in frameworks: one module for each. A module is imported by its own name and may need an extra."""
