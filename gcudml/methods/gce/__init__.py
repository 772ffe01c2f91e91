"""GCE: an ensemble of learners, each on meta-classes of its own."""
