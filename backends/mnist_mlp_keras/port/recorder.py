"""Hooks in a user's model that keep what a step computes, whoever wrote the step.

They sit where every Keras training step passes, own `train_step` or not: the call of each Dense
layer, `compute_loss`, `GradientTape.gradient` and the optimizer's `apply`. They add assignments to
the step that Keras builds and change nothing in it, so that a judged step runs compiled like any
other: run eagerly, a port's own softmax would lose its logits, and the loss be another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import keras
import numpy as np

from mnist_mlp.contract import Array
from mnist_mlp.ports.clipping import shortened
from mnist_mlp.reference import bias_name, kernel_name
from mnist_mlp_keras.engine import Sink, graph_being_built, watched_gradients

Mode = Literal["off", "light", "full", "dry"]
"""`light` keeps losses and outputs, `full` every stage; `dry` is `full` without the update."""


def variables_of(dense: Sequence[keras.layers.Dense]) -> dict[str, Any]:
    """The Dense layers' variables by canonical name; a layer may have no bias."""
    result = {}
    for index, layer in enumerate(dense):
        result[kernel_name(index)] = layer.kernel
        if layer.bias is not None:
            result[bias_name(index)] = layer.bias
    return result


def innermost(optimizer: Any) -> Any:
    """The optimizer that makes the update, beneath loss scaling."""
    while getattr(optimizer, "inner_optimizer", None) is not None:
        optimizer = optimizer.inner_optimizer
    return optimizer


class Recorder:
    """Keeps the values of a model's last step: of each what comes first, since a step may run the
    network again after an update.

    Parameters
    ----------
    model : keras.Model
    dense : its Dense layers in order of execution.
    """

    def __init__(self, model: keras.Model, dense: Sequence[keras.layers.Dense]) -> None:
        self.model = model
        self.dense = dense
        self.mode: Mode = "off"
        self.names = {}
        for name, variable in variables_of(dense).items():
            self.names[id(variable)] = name
            self.names[id(variable.value)] = name
        self.scaled = innermost(model.optimizer) is not model.optimizer
        places = [f"{what} {i}" for what in ("input", "z") for i in range(len(dense))]
        places += [f"{how} {name}" for how in ("tape", "applied") for name in self.names.values()]
        self._always = ("loss", "output", "target", *places[len(dense) * 2 - 1 : len(dense) * 2])
        self._sinks = {name: Sink() for name in dict.fromkeys((*places, *self._always))}
        self._kept: set[tuple[str, Any]] = set()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks, while this lasts."""
        model, optimizer = self.model, innermost(self.model.optimizer)
        hooked: list[tuple[Any, str, Any]] = [
            (layer, "call", self._call(layer, index)) for index, layer in enumerate(self.dense)
        ]
        hooked.append((model, "compute_loss", self._compute_loss(model.compute_loss)))
        if optimizer is not None:
            hooked.append((optimizer, "apply", self._apply(optimizer, optimizer.apply)))
        for owner, name, hook in hooked:
            setattr(owner, name, hook)
        try:
            with watched_gradients(self._gradient):
                yield
        finally:
            self.mode = "off"
            for owner, name, _ in hooked:
                delattr(owner, name)

    @contextmanager
    def recording(self, mode: Mode) -> Iterator[None]:
        """Let the hooks work while a function is called, and traced if it has not been yet."""
        before, self.mode = self.mode, mode
        self._kept.clear()
        for name in self._sinks if mode != "light" else self._always:
            self._sinks[name].clear()
        try:
            yield
        finally:
            self.mode = before

    def _call(self, layer: keras.layers.Dense, index: int) -> Callable[..., Any]:
        own = layer.call
        last = index == len(self.dense) - 1

        def call(inputs: Any, *args: Any, **options: Any) -> Any:
            if self.mode == "off" or (self.mode == "light" and not last):
                return own(inputs, *args, **options)
            if self.mode != "light":
                self._put(f"input {index}", inputs)
            activation, seen = layer.activation, []

            def activated(z: Any) -> Any:
                seen.append(z)
                # The same tensor goes on: softmax hangs the logits it was given on its result.
                return z if activation is None else activation(z)

            layer.activation = activated
            try:
                outputs = own(inputs, *args, **options)
            finally:
                layer.activation = activation
            self._put(f"z {index}", seen[0] if seen else outputs)
            return outputs

        return call

    def _compute_loss(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def compute_loss(
            x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **options: Any
        ) -> Any:
            value = own(x, y, y_pred, *args, **options)
            if self.mode != "off" and value is not None:
                self._put("loss", keras.ops.sum(value))
                if len(getattr(y_pred, "shape", ())) == 2:
                    self._put("output", y_pred)
            return value

        return compute_loss

    def _gradient(self, target: Any, sources: Sequence[Any], gradients: Sequence[Any]) -> None:
        found = {
            self.names[id(source)]: gradient
            for source, gradient in zip(sources, gradients, strict=True)
            if id(source) in self.names
        }
        if self.mode == "off" or not found:
            return
        self._put("target", keras.ops.sum(target))
        if self.mode != "light":
            self._put_all("tape", found)

    def _apply(self, optimizer: Any, own: Callable[..., Any]) -> Callable[..., Any]:
        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            variables = list(trainable_variables or optimizer._trainable_variables)
            grads = list(grads)
            if self.mode in ("full", "dry"):
                known = zip(variables, grads, strict=True)
                self._put_all(
                    "applied", {self.names[id(v)]: g for v, g in known if id(v) in self.names}
                )
            return None if self.mode == "dry" else own(grads, trainable_variables)

        return apply

    def _put(self, name: str, tensor: Any) -> None:
        """Keep what comes first in the graph that is being built; each branch has its own."""
        key = name, graph_being_built()
        if key not in self._kept:
            self._kept.add(key)
            self._sinks[name].put(tensor)

    def _put_all(self, how: str, gradients: Mapping[str, Any]) -> None:
        for name, gradient in gradients.items():
            if gradient is not None:
                self._put(f"{how} {name}", gradient)

    # --- What the last step left ------------------------------------------------------------------

    def _read(self, name: str) -> Array | None:
        sink = self._sinks.get(name)
        value: Array | None = None if sink is None else sink.read()
        return value

    @property
    def loss(self) -> float | None:
        """What was minimised: the tensor that was differentiated, unless it was scaled for half
        precision; else what `compute_loss` made."""
        value = None if self.scaled else self._read("target")
        value = self._read("loss") if value is None else value
        return None if value is None else float(value)

    @property
    def tested_loss(self) -> float | None:
        """What `compute_loss` made in a pass without training."""
        value = self._read("loss")
        return None if value is None else float(value)

    def logits(self) -> Array | None:
        """Pre-activation of the last Dense layer, `(n, classes)`."""
        return self._read(f"z {len(self.dense) - 1}")

    def outputs(self) -> Array | None:
        """What the model answered, `(n, classes)`, where the loss was made of it; else logits."""
        outputs = self._read("output")
        return self.logits() if outputs is None else outputs

    def inputs(self) -> tuple[Array, ...]:
        """What each Dense layer was given."""
        return tuple(self._all("input"))

    def pre_activations(self) -> tuple[Array, ...]:
        """What each Dense layer made before its activation."""
        return tuple(self._all("z"))

    def _all(self, what: str) -> Iterator[Array]:
        for index in range(len(self.dense)):
            value = self._read(f"{what} {index}")
            yield np.full((0, 0), np.nan) if value is None else value

    def gradient(self, *, clips: bool) -> dict[str, Array]:
        """What the optimizer was given, by tensor; zeros for a tensor that got nothing.

        Where the specification `clips`, a gradient that was shortened on its way to the optimizer
        is the tape's: clipping belongs to the update.
        """
        applied, taped = self._gradient_of("applied"), self._gradient_of("tape")
        if clips and taped and shortened(applied, taped):
            applied = taped
        result = {}
        for index, layer in enumerate(self.dense):
            for name, shape in (
                (kernel_name(index), tuple(layer.kernel.shape)),
                (bias_name(index), (layer.units,)),
            ):
                value = applied.get(name, taped.get(name))
                result[name] = np.zeros(shape, np.float32) if value is None else value
        return result

    def _gradient_of(self, how: str) -> dict[str, Array]:
        found = {name: self._read(f"{how} {name}") for name in set(self.names.values())}
        return {name: value for name, value in found.items() if value is not None}
