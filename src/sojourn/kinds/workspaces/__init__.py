"""Workspaces: who is at work in a project, in which role, and what they have claimed."""
