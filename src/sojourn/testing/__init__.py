"""Tools for tests of Sojourn, of its engines, and of programs that use it."""
