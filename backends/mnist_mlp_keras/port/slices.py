"""Batches that a training loop makes itself: what its model and its loss are given.

So that they can be compared, the loop runs for a few of its own epochs
(`mnist_mlp.ports.recording`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from inspect import isfunction, signature
from itertools import count
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.recording import Recording
from mnist_mlp.ports.script import Catch, patched
from mnist_mlp.reference import Array
from mnist_mlp_keras.engine import generated, modules_of_losses
from mnist_mlp_keras.port.state import number


class Losses:
    """Sees which of Keras's losses are called, and with which targets; gives them others."""

    def __init__(self) -> None:
        self.on = True
        """Whether a call is one of the training's."""
        self.loss: Any = None
        """The first that was called: an object or a function."""
        self.targets: Any = None
        self.instead: Any = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts."""
        kind = keras.losses.Loss
        with ExitStack() as stack:
            stack.enter_context(patched(kind, __call__=self._object(kind.__call__)))
            for module in modules_of_losses():
                found = functions_of(module).items()
                functions = {name: self._function(own) for name, own in found}
                stack.enter_context(patched(module, **functions))
            yield

    def _object(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(loss: Any, y_true: Any, y_pred: Any, *args: Any, **options: Any) -> Any:
            return own(loss, self._seen(loss, y_true), y_pred, *args, **options)

        return call

    def _function(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(y_true: Any, y_pred: Any, *args: Any, **options: Any) -> Any:
            return own(self._seen(own, y_true), y_pred, *args, **options)

        return call

    def _seen(self, loss: Any, targets: Any) -> Any:
        if not self.on:
            return targets
        if self.targets is None:
            self.loss, self.targets = loss, targets
        return targets if self.instead is None else self.instead

    def forget(self) -> None:
        """The step is over."""
        self.targets = None


def functions_of(module: Any) -> dict[str, Callable[..., Any]]:
    """Keras's losses that are functions, by name."""
    return {name: own for name, own in vars(module).items() if _is_loss(own)}


def _is_loss(thing: Any) -> bool:
    """Whether it is one of Keras's losses that are functions."""
    return isfunction(thing) and next(iter(signature(thing).parameters), "") == "y_true"


def same(a: Any, b: Any) -> bool:
    """Whether two arrays or tensors hold the same numbers, whatever their shapes."""
    if not (hasattr(a, "shape") and hasattr(b, "shape")):
        return False
    first, second = number(a).ravel(), number(b).ravel()
    return np.array_equal(first, second)


def as_arrays(x: Any, y: Any) -> tuple[Array, Array]:
    """A batch as it is now."""
    return number(x), number(y)


def dataset_of(recording: Recording) -> Any:
    """The recorded epochs, one after the other and again, as a `tf.data.Dataset`."""
    passes = count(-1)  # the first look is for the types alone
    steps = {x.shape[1:2] for epoch in recording.epochs for x, _ in epoch}
    return generated(
        lambda: iter(recording.epochs[max(next(passes), 0) % len(recording.epochs)]),
        any_size=1 if len(steps) == 1 else 2,
    )


class Start:
    """The weights of a model before its training."""

    def __init__(self, model: Any, x: Any, call: Callable[..., Any]) -> None:
        self.model = model
        if not model.built:
            call(model, x)
        self._values = [(variable, number(variable)) for variable in model.variables]

    def restore(self) -> None:
        """Set them."""
        for variable, value in self._values:
            variable.assign(value)


class BatchWatch:
    """Offers a loop over `train_on_batch`, when the batches of its first epochs are known.

    Of a call outside of any loop, nobody knows which others will come. `known` is what an earlier
    run of the script has shown.
    """

    def __init__(self, catch: Catch, known: Mapping[str, Any]) -> None:
        self.catch = catch
        self.known = known
        self.recording = Recording()
        self.start: Start | None = None
        self._loops: list[int | None] = []
        self._kept: Callable[[], dict[str, Any]] = dict

    def called(self, model: Any, x: Any, y: Any, kept: Callable[[], dict[str, Any]]) -> None:
        """`train_on_batch` is called; `kept` gives what is kept of it, without batches."""
        if self.start is None and not self._begins(model, x, y, kept):
            return
        assert self.start is not None
        if model is not self.start.model:
            refused = "it trains several models by train_on_batch, one beside the other"
            self.catch.offer(lambda: {"refused": refused})
        if self.recording.add(number(x), as_arrays(x, y)):
            self._done(ended=False)

    def _begins(self, model: Any, x: Any, y: Any, kept: Callable[[], dict[str, Any]]) -> bool:
        single = y is not None and hasattr(x, "shape")
        earlier = not self.catch.is_meant(model)
        if self.known or earlier or not single or not self.catch.loops:
            self.catch.offer(lambda: {**kept(), **self.known}, model)
            return False
        self.start = Start(model, x[:1], type(model).__call__)
        self._kept, self._loops = kept, list(self.catch.loops)
        self.catch.on_left = lambda: self._done(ended=True)
        return True

    def _done(self, *, ended: bool) -> None:
        assert self.start is not None
        self.start.restore()
        self.recording.close(ended=ended)
        found = self._kept()
        if self.recording.known:
            found["loader"] = dataset_of(self.recording)
            epochs = epochs_of(self._loops, self.recording)
            if epochs is not None:
                found["fit"]["epochs"] = epochs
        self.catch.offer(lambda: found)


def epochs_of(loops: list[int | None], recording: Recording) -> int | None:
    """How often the loop runs that is around the one over the batches."""
    around = loops if len(recording) == 1 else loops[:-1]
    return around[-1] if around else None
