"""Train inside a worker process: its environment, one attempt at a run, the request to stop."""
