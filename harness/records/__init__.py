"""What is on disk: trials, runs, events, states, study records, digests."""
