"""What the numbers in a Keras model's logs mean."""

from __future__ import annotations

from typing import Any

_FUNCTIONS = {
    "accuracy": "accuracy",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}


def meant_by(model: Any) -> dict[str, str]:
    """The kind of each number that a compiled metric makes (`mnist_mlp.ports.reported.KINDS`), in
    training and validation; empty for another kind."""
    compiled = getattr(model, "_compile_metrics", None)
    found = {}
    for metric in getattr(compiled, "metrics", ()):
        function = getattr(getattr(metric, "_fn", None), "__name__", "")
        kind = "auc" if type(metric).__name__ == "AUC" else _FUNCTIONS.get(function, "")
        found[metric.name] = found[f"val_{metric.name}"] = kind
    return found
