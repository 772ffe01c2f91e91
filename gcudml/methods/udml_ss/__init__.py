"""UDML-SS: softmax over views and pseudo-labels."""
