"""The domains: each is pure rules over the core, reached through coroutines."""
