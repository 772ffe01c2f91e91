"""Tables that are computed again from finished runs: comparisons, effects, intervals."""
