"""Code that runs inside a worker process, the process that trains."""
