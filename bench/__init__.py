"""What we measure, in ratios: absolute times of a shared machine mean nothing, so each figure has its yardstick beside it."""
