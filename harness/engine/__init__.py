"""Train the runs that a study still lacks: start, watch, retry, resume and store them."""
