"""The interfaces of five programs that Sojourn replaces: a program changes an import and keeps its calls."""
