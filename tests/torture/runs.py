"""What two run folders must have in common, and when one is whole; for stopped and shared runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnist_mlp.errors import RunFolderError
from mnist_mlp.run.folder import Run
from mnist_mlp.run.tensors import tensors_digest

ARRAYS = ("predictions", "examples", "order", "weights", "initial_weights")


def differences(a: Path, b: Path) -> list[str]:
    """What two complete runs do not share bit for bit. Only times may differ."""
    left, right = Run(a), Run(b)
    found = []
    for name in ARRAYS:
        x, y = getattr(left, name), getattr(right, name)
        if x.keys() != y.keys() or any(
            x[key].dtype != y[key].dtype or not np.array_equal(x[key], y[key]) for key in x
        ):
            found.append(name)
    rows = [
        [(r.epoch, r.loss, r.accuracy, r.val_loss, r.val_accuracy, r.weights_sha256) for r in h]
        for h in (left.history, right.history)
    ]
    same = {
        "history": rows[0] == rows[1],
        "metrics": left.metrics == right.metrics,
        "spec": left.spec == right.spec,
        "report": left.report_text == right.report_text,
    }
    return [*found, *(name for name, equal in same.items() if not equal)]


def contradiction(path: Path) -> str:
    """What does not fit together in a folder, whatever its status; empty if all of it does.

    A folder without `run.json` holds no run.
    """
    if not (path / "run.json").exists():
        left = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        return f"no run.json, but {', '.join(left)}" if left else ""
    try:
        run = Run(path, complete=False)
        history = run.history
        if run.record.status == "complete":
            Run(path)
            if len(history) != run.spec.training.epochs:
                return f"complete after {len(history)} of {run.spec.training.epochs} epochs"
        if history and history[-1].weights_sha256 != tensors_digest(run.weights):
            return f"the weights are not those of epoch {len(history)}, the last of the history"
    except RunFolderError as error:
        return f"not readable: {error}"
    return ""
