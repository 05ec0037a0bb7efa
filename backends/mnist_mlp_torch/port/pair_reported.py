"""What a Lightning module logs, epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchmetrics import Metric

from mnist_mlp.ports.reported import Reports
from mnist_mlp_torch.port.listener import Listener

_CLASSES = {
    "MeanSquaredError": "mse",
    "MeanAbsoluteError": "mae",
    "BinaryAccuracy": "accuracy",
    "MulticlassAccuracy": "accuracy",
    "MultilabelAccuracy": "accuracy",
    "BinaryAUROC": "auc",
}

_BY_NAME = ("MeanMetric", "SumMetric", "RunningMean")
"""Metrics that take any number."""


class Reported:
    """The numbers of each epoch, taken when all hooks of the epoch have run."""

    def __init__(self, module: Any) -> None:
        self.listener = Listener(module)
        self.module = module
        self.epochs: list[dict[str, float]] = []
        self.meant: dict[str, str] = {}
        self.whole = True
        self._begun = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Wrap the module's `log` while this lasts."""
        own, original = vars(self.module).get("log"), self.module.log
        noted = self.listener.logs(original)

        @functools.wraps(original)
        def log(name: str, value: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(value, Metric) and type(value).__name__ not in _BY_NAME:
                self.meant[name] = _meant(value)
            return noted(name, value, *arguments, **options)

        self.module.log = log
        try:
            yield
        finally:
            if own is None:
                del self.module.log
            else:
                self.module.log = own

    def step(self) -> None:
        """A training batch begins."""
        self.listener.per_step = True

    def batches_end(self) -> None:
        """An epoch's batches are over, or a validation begins."""
        self.listener.per_step = False

    def close(self, trainer: Any) -> None:
        """Before the next epoch, or at the end: the last one has logged what it had to."""
        if self._begun:
            self.epochs.append(self.listener.of_the_epoch(trainer.callback_metrics))
        self.whole &= trainer.limit_val_batches == 1.0 and trainer.check_val_every_n_epoch == 1
        self._begun = True

    @property
    def reports(self) -> Reports:
        """All of it."""
        return Reports(tuple(self.epochs), self.meant, self.whole)


def _meant(metric: Any) -> str:
    """The kind of a metric's number (`mnist_mlp.ports.reported.KINDS`); empty for another one."""
    other = getattr(metric, "top_k", 1) not in (None, 1) or not getattr(metric, "squared", True)
    return "" if other else _CLASSES.get(type(metric).__name__, "")
