"""One run: epochs, state, optimisers, checkpoint, model file."""
