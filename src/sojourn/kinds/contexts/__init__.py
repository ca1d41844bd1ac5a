"""Contexts: named bodies of work, what was gathered for each, and which one is active."""
