"""Export results: row files, Optuna, TensorBoard, MLflow, the best model."""
