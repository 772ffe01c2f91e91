"""Which trials there are and which comes next; the only room that imports Optuna."""
