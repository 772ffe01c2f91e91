"""STML: self-taught metric learning."""
