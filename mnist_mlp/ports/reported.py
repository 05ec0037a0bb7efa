"""What a model reports of its epochs: the numbers in Keras's logs, and those that a module logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = ("loss", "accuracy", "mse", "mae", "auc")
"""Numbers whose meaning both frameworks share."""

HELD_OUT = {"val", "valid", "validation", "test"}
_PLAIN = HELD_OUT | {"train", "training", "epoch", "mean", "total"}

_WORDS = {
    frozenset({"loss"}): "loss",
    frozenset({"mse"}): "mse",
    frozenset({"squared", "error"}): "mse",
    frozenset({"mae"}): "mae",
    frozenset({"absolute", "error"}): "mae",
    frozenset({"auc"}): "auc",
    frozenset({"auroc"}): "auc",
    frozenset({"roc", "auc"}): "auc",
}

_ACCURACIES = {"acc", "accuracy", "binary", "categorical", "sparse", "multiclass"}


@dataclass(frozen=True, eq=False)
class Reports:
    """The numbers of each epoch, by the user's names, as the framework holds them at its end.

    `meant` says which of `KINDS` a number is where a metric of the framework's makes it, empty for
    another kind; all others are known by their names alone. `whole` says whether validation went
    through all of its rows in every epoch.
    """

    epochs: tuple[Mapping[str, float], ...] = ()
    meant: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    def kind(self, name: str) -> str:
        """Which of `KINDS` a number is; empty where that is not known."""
        return self.meant.get(name, kind_of(name))


def by_kind(numbers: Mapping[str, float], meant: Mapping[str, str]) -> dict[str, float]:
    """Of an epoch's numbers, the first of each kind: `loss`, `accuracy`, `val_loss` and so on.

    >>> by_kind({"loss": 0.5, "my_number": 1.0, "valid_acc": 0.9}, {})
    {'loss': 0.5, 'val_accuracy': 0.9}
    """
    found: dict[str, float] = {}
    for name, value in numbers.items():
        if kind := meant.get(name, kind_of(name)):
            found.setdefault(f"val_{kind}" if is_held_out(name) else kind, value)
    return found


def is_held_out(name: str) -> bool:
    """Whether a number calls itself one of validation."""
    return bool(_words(name) & HELD_OUT)


def kind_of(name: str) -> str:
    """What a number calls itself, and nothing else: a top-k accuracy is another number."""
    words = _words(name) - _PLAIN
    if words & {"acc", "accuracy"} and words <= _ACCURACIES:
        return "accuracy"
    return _WORDS.get(frozenset(words), "")


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower())) - {""}
