"""GC-UDML: groups of pseudo-labels from a momentum teacher, learnt collaboratively."""
