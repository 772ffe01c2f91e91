"""Which run starts next, who owns it, what follows when it fails."""
