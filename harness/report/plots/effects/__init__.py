"""Draw what parameters, components and pairs of them are worth."""
