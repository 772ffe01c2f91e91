"""GCE: an ensemble of learners on meta-classes."""
