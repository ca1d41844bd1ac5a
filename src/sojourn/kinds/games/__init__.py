"""Games: turns that close exactly once, in a channel, whatever dies."""
