"""Plan the trials of a study: its grid, conditions, parameters, labels and budget."""
