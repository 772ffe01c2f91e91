"""The ablation engine: studies, trials, runs and numbers, and no tensor."""
