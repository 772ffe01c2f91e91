"""Design ablations, estimate the effects of components, and race them."""
