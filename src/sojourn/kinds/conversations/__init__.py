"""Conversations: one person's dialogue with an application over many channels."""
