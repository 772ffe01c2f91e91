"""The records on disk: trials, runs, events, run states, study records and digests."""
