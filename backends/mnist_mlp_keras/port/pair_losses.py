"""The loss of a Keras model while a step is taken: which it is, and experiments on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from mnist_mlp.ports.lines import UserLine, here, shown
from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.script import patched
from mnist_mlp_keras.engine import modules_of_losses
from mnist_mlp_keras.port.slices import functions_of

ARGUMENTS = {"smoothing": "label_smoothing", "delta": "delta", "logits": "from_logits"}
"""What Keras calls the settings of a loss that are arguments."""

ENTROPIES = ("cross_entropy", "nll_loss")

WITH_LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")

REDUCTIONS = {"mean": "sum_over_batch_size", "sum": "sum", "none": None}

FUNCTIONS = {
    "mse_loss": keras.losses.mean_squared_error,
    "l1_loss": keras.losses.mean_absolute_error,
    "huber_loss": keras.losses.huber,
}
"""Losses that an experiment takes instead."""


@dataclass(frozen=True)
class CalledLoss:
    """A loss of Keras that was called: an object, or a function with its arguments."""

    loss: Any
    arguments: Mapping[str, Any]
    line: UserLine | None


class WatchedLoss:
    """The loss of a step. `mends` change it; `penalty` gives what an experiment adds to it."""

    def __init__(
        self, mends: Sequence[Mend], penalty: Callable[[Mapping[int, float]], Any]
    ) -> None:
        self._fields = {mend.field: mend.value for mend in mends}
        self._penalty = penalty
        self._within = False
        self.called: CalledLoss | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In effect, while this lasts."""
        with ExitStack() as stack:
            kind = keras.losses.Loss
            stack.enter_context(patched(kind, __call__=self._object(kind.__call__)))
            for module in modules_of_losses():
                functions = {n: self._function(f) for n, f in functions_of(module).items()}
                stack.enter_context(patched(module, **functions))
            yield

    def _object(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(loss: Any, y_true: Any, y_pred: Any, *args: Any, **options: Any) -> Any:
            if self._within:
                return own(loss, y_true, y_pred, *args, **options)
            if "class_weights" in self._fields:
                args, options = (), {"sample_weight": self._row_weights(y_true)}
            with self._outermost(loss, {}), self._changed(loss):
                return own(loss, y_true, y_pred, *args, **options) + self._more()

        return call

    def _function(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(y_true: Any, y_pred: Any, *args: Any, **options: Any) -> Any:
            if self._within:
                return own(y_true, y_pred, *args, **options)
            with self._outermost(own, options):
                if "kind" in self._fields:
                    return self._other(y_true, y_pred) + self._more()
                result = own(y_true, y_pred, *args, **{**options, **self._arguments})
                weights = self._row_weights(y_true)
                if weights is not None and result.shape == weights.shape:
                    result = result * weights
                return result + self._more()

        return call

    @contextmanager
    def _outermost(self, loss: Any, options: Mapping[str, Any]) -> Iterator[None]:
        if self.called is None:
            line = here()
            shown_line = None if line is None else shown(line, "loss")
            self.called = CalledLoss(loss, dict(options), shown_line)
        self._within = True
        try:
            yield
        finally:
            self._within = False

    @property
    def _arguments(self) -> dict[str, Any]:
        return {ARGUMENTS[name]: v for name, v in self._fields.items() if name in ARGUMENTS}

    @contextmanager
    def _changed(self, loss: Any) -> Iterator[None]:
        """A loss object with other settings; its function and arguments have no public names."""
        new: dict[str, Any] = {}
        if "reduction" in self._fields:
            new["reduction"] = REDUCTIONS[self._fields["reduction"]]
        if "kind" in self._fields and hasattr(loss, "fn"):
            new |= {"fn": self._other, "_fn_kwargs": {}}
        elif self._arguments and hasattr(loss, "_fn_kwargs"):
            new["_fn_kwargs"] = {**loss._fn_kwargs, **self._arguments}
        before = {name: getattr(loss, name) for name in new}
        try:
            for name, value in new.items():
                setattr(loss, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(loss, name, value)

    def _row_weights(self, y_true: Any) -> Any:
        """Of classes, as an experiment has them; None for none."""
        weights = self._fields.get("class_weights")
        if weights is None:
            return None
        y = ops.convert_to_numpy(y_true)
        classes = y.argmax(axis=-1) if y.ndim > 1 and y.shape[-1] > 1 else y
        return ops.convert_to_tensor(weights.of(classes), dtype=keras.config.floatx())

    def _other(self, y_true: Any, y_pred: Any) -> Any:
        kind, settings = self._fields["kind"]
        y_true = ops.convert_to_tensor(y_true)
        one_hot = y_true.shape[-1:] == y_pred.shape[-1:] and len(y_true.shape) == len(y_pred.shape)
        options: dict[str, Any] = {"from_logits": kind in WITH_LOGITS}
        if kind in ENTROPIES and not one_hot:
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, **options)
        if not one_hot and "int" in keras.backend.standardize_dtype(y_true.dtype):
            y_true = ops.one_hot(ops.reshape(y_true, y_pred.shape[:-1]), y_pred.shape[-1])
        y_true = ops.cast(ops.reshape(y_true, y_pred.shape), y_pred.dtype)
        if kind in ENTROPIES:
            return keras.losses.categorical_crossentropy(y_true, y_pred, **options)
        if kind.startswith("binary_cross_entropy"):
            return keras.losses.binary_crossentropy(y_true, y_pred, **options)
        if kind == "smooth_l1_loss":  # Huber's, over its threshold
            at = float(settings.get("beta", 1.0))
            return keras.losses.huber(y_true, y_pred, delta=at) / at
        known = {"delta": settings["delta"]} if "delta" in settings else {}
        return FUNCTIONS[kind](y_true, y_pred, **known)

    def _more(self) -> Any:
        return self._penalty(dict(self._fields["penalty"])) if "penalty" in self._fields else 0.0
