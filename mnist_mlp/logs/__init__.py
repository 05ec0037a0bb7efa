"""Logs for TensorBoard and MLflow: `parent` sends them, `child` writes them."""
