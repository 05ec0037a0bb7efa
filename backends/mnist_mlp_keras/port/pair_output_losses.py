"""The compiled losses of a Keras model: one of each output, and their weights in the sum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from mnist_mlp.ports.inputs import Inputs, arrays_of
from mnist_mlp.ports.pair import Mend, PairLayer
from mnist_mlp_keras.port.pair_layers import LOSSES, loss_settings
from mnist_mlp_keras.port.pair_losses import ARGUMENTS

KINDS = {
    "mse_loss": keras.losses.MeanSquaredError,
    "l1_loss": keras.losses.MeanAbsoluteError,
    "huber_loss": keras.losses.Huber,
}
"""Losses that an experiment may put in the place of another."""

Predictions = Any
"""What a model gives: tensors in lists and dictionaries."""


@contextmanager
def watching(
    model: Any, seen: Callable[[Predictions], None], mends: Mapping[int, Sequence[Mend]]
) -> Iterator[None]:
    """Call `seen` with what the losses get, while this lasts, and let some be others.

    `mends` are experiments by the place of a loss among the compiled ones.
    """
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None:
        yield
        return
    own = compiled.call

    def call(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        result = own(y_true, y_pred, sample_weight)
        seen(y_pred)
        if not mends:
            return result
        before = compiled._flat_losses  # which the call has made, if it was the first
        try:
            compiled._flat_losses = [
                _changed(one, mends.get(place, ())) for place, one in enumerate(before)
            ]
            return own(y_true, y_pred, sample_weight)
        finally:
            compiled._flat_losses = before

    compiled.call = call
    try:
        yield
    finally:
        del compiled.call


def _changed(one: Any, mends: Sequence[Mend]) -> Any:
    """A compiled loss with its weight, as experiments have it."""
    loss, weight = copy.copy(one.loss), one.loss_weights
    for mend in mends:
        if mend.field == "added":
            weight = (1.0 if weight is None else weight) + mend.value
        elif mend.field == "kind":
            kind, settings = mend.value
            loss = KINDS[kind](**{k: v for k, v in settings.items() if k == "delta"})
        elif mend.field == "reduction":
            loss.reduction = "sum" if mend.value == "sum" else "sum_over_batch_size"
        elif mend.field in ARGUMENTS and hasattr(loss, "_fn_kwargs"):
            loss._fn_kwargs = {**loss._fn_kwargs, ARGUMENTS[mend.field]: mend.value}
    return one._replace(loss=loss, loss_weights=weight)


def losses_of(
    model: Any, place: int, predictions: Predictions, source: Callable[[Any], int | None]
) -> tuple[PairLayer, ...]:
    """The losses that were compiled, where there are several, numbered from `place`.

    `source` tells the layer with weights that made one of the `predictions`.
    """
    compiled = getattr(getattr(model, "_compile_loss", None), "_flat_losses", None) or ()
    if len(compiled) < 2:
        return ()
    return tuple(
        _described(one, place + index, source(_at(predictions, one.path)))
        for index, one in enumerate(compiled)
    )


def _described(one: Any, number: int, behind: int | None) -> PairLayer:
    function = getattr(getattr(one.loss, "fn", None), "__name__", "")
    name = function or str(getattr(one.loss, "name", type(one.loss).__name__))
    kind = LOSSES.get(name, name)
    weight = 1.0 if one.loss_weights is None else float(one.loss_weights)
    settings = {**loss_settings(kind, one.loss), "weight": weight}
    return PairLayer(number, f"{one.name}: {name}", kind, settings, behind=behind)


def _at(structure: Any, path: Sequence[Any]) -> Any:
    try:
        for key in path:
            structure = structure[key]
    except (KeyError, IndexError, TypeError):  # the losses were given in another structure
        return None
    return structure


def targets_of(model: Any, y: Inputs) -> tuple[int | None, ...]:
    """The place of each compiled loss's target among several targets `y`."""
    compiled = getattr(getattr(model, "_compile_loss", None), "_flat_losses", None) or ()
    count = len(arrays_of(y))
    if count != len(compiled) or len(compiled) < 2:
        return (None,) * len(compiled)
    if not isinstance(y, Mapping):
        return tuple(range(count))  # some outputs may have no loss, and then no target either
    names = sorted(y)
    found = []
    for one in compiled:
        known = [name for name in (*map(str, one.path), one.name) if name in names]
        found.append(names.index(known[0]) if known else None)
    return tuple(found)
