"""Take results elsewhere: files, Optuna, TensorBoard, MLflow, the best model."""
