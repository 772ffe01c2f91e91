"""STML: self-taught learning from the contextual similarity of a momentum teacher."""
