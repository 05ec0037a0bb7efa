"""Logs for TensorBoard and MLflow: `parent` sends the values, `child` writes the log."""
