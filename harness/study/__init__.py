"""Read and check a study file, and plan its trials."""
