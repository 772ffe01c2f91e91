"""Train one run: epochs, optimisers, checkpoints and the model that it leaves."""
