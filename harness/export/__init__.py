"""Copy results to other tools: tables, Optuna, TensorBoard, MLflow, and the best model."""
