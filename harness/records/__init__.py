"""Files of a results folder: trials, events, run states, study records and provenance."""
