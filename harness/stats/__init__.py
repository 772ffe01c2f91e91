"""Statistics of paired seeds: tests, intervals and power, as pure functions."""
