"""Trackers: a run's records in TensorBoard, MLflow or Weights & Biases, through Ray's own callbacks."""
