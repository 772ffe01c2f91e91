"""Read and check a study file, and compare it with the study that has results."""
