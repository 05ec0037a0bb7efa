"""Train one specification of a multilayer perceptron in several frameworks, and compare the runs.

    from mnist_mlp import Spec, train, compare

    run = train(backend="keras", epochs=2)
    print(compare("keras", "torch", epochs=2).verdict)

The names below are loaded when they are first used. Importing the package alone loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_mlp.api import check, compare, load_run, resume, train
    from mnist_mlp.data import Dataset, load_dataset
    from mnist_mlp.estimator import MLPClassifier
    from mnist_mlp.run.folder import Run
    from mnist_mlp.spec import Spec

_HOMES = {
    "Dataset": "mnist_mlp.data",
    "MLPClassifier": "mnist_mlp.estimator",
    "Run": "mnist_mlp.run.folder",
    "Spec": "mnist_mlp.spec",
    "check": "mnist_mlp.api",
    "compare": "mnist_mlp.api",
    "load_dataset": "mnist_mlp.data",
    "load_run": "mnist_mlp.api",
    "resume": "mnist_mlp.api",
    "train": "mnist_mlp.api",
}

__all__ = [
    "Dataset",
    "MLPClassifier",
    "Run",
    "Spec",
    "check",
    "compare",
    "load_dataset",
    "load_run",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
