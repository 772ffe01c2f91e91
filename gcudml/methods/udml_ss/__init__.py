"""UDML-SS: a softmax over views and pseudo-labels."""
