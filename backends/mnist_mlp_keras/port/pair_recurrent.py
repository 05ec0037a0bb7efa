"""Recurrent layers of Keras as they run: all of their steps are seen, whatever they hand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.pair import Mend
from mnist_mlp.ports.recurrent import Strand, read, unrolled
from mnist_mlp_keras.port.load import is_native
from mnist_mlp_keras.port.pair_layers import activation_name, kind_of, recurrent_tensors

UNROLLED = ("reset_after", "masked", "state")
"""Settings that an experiment changes for a layer that is then written out."""


class Operations:
    """See `mnist_mlp.ports.recurrent.Operations`."""

    def activation(self, name: str, x: Any) -> Any:
        """An activation by its shared name."""
        return keras.activations.get(name)(x)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Element by element."""
        return keras.ops.where(condition, x, y)

    def stacked(self, steps: Sequence[Any]) -> Any:
        """Steps (n, units) as (n, steps, units)."""
        return keras.ops.stack(list(steps), axis=1)

    def joined(self, parts: Sequence[Any]) -> Any:
        """Along the last axis."""
        return keras.ops.concatenate(list(parts), axis=-1)

    def flipped(self, x: Any) -> Any:
        """Along the second axis."""
        return keras.ops.flip(x, axis=1)

    def over_time(self, how: str, x: Any) -> Any:
        """The `mean`, `sum` or `max` over the second axis."""
        return getattr(keras.ops, how)(x, axis=1)


OPERATIONS = Operations()


@dataclass
class Sequences:
    """Those of one step, by number of the layer that gives them, and the ids that they came of."""

    strands: dict[int, Strand] = field(default_factory=dict)
    ids: Any = None

    def mask(self, x: Any = None) -> Any:
        """Where there is no padding; of what is not embedded, by the steps `x` of a layer."""
        if self.ids is None and x is not None:
            return keras.ops.any(keras.ops.not_equal(x, 0), axis=-1)
        if self.ids is None:
            raise UsageError("which steps are padding is not known: no layer embeds them")
        return keras.ops.not_equal(keras.ops.cast(self.ids, "int32"), 0)

    def embedded(self, number: int, ids: Any, result: Any) -> None:
        """Keep what an embedding gave, if that is a sequence."""
        self.ids = ids
        if len(result.shape) > 2:
            self.strands[number] = Strand(result, result[:, -1])

    def reading(self, x: Any, mends: Sequence[Mend]) -> Any:
        """What a layer is given, read otherwise of the sequences before it."""
        for mend in mends:
            if mend.field == "reads":
                numbers, how = mend.value
                mask = None
                if how.masked:
                    mask = keras.ops.cast(self.mask(), x.dtype)
                x = read([self.strands[n] for n in numbers], how, OPERATIONS, mask)
        return x


def settings_of(layer: Any, mask: Any, begin: Any) -> dict[str, Any]:
    """Settings of one direction of one layer, by the names that both frameworks share."""
    cell = layer.cell
    settings: dict[str, Any] = {
        "activation": activation_name(cell.activation),
        "backwards": bool(layer.go_backwards),
        "masked": mask is not None and not bool(keras.ops.all(mask)),
        "state": "zeros" if begin is None and not layer.stateful else "given",
    }
    if hasattr(cell, "recurrent_activation"):
        settings["recurrent_activation"] = activation_name(cell.recurrent_activation)
    if hasattr(cell, "reset_after"):
        settings["reset_after"] = bool(cell.reset_after)
    if cell.dropout or cell.recurrent_dropout:
        settings["drops"] = float(cell.dropout), float(cell.recurrent_dropout)
    return settings


def input_dropout(layer: Any) -> float:
    """The rate at which a layer drops its inputs, by one mask for all steps and gates; 0 where it
    does not, or where it drops its states too, by a mask for each gate, which no layer of torch
    does."""
    cell = layer.cell
    if cell.recurrent_dropout or getattr(cell, "implementation", 2) == 1:
        return 0.0
    return float(cell.dropout)


def run(
    layer: Any,
    own: Callable[..., Any],
    x: Any,
    options: Mapping[str, Any],
    mends: Sequence[Mend],
    sequences: Sequences,
) -> tuple[Any, Strand]:
    """What a layer hands on, and all of its steps, with experiments in effect."""
    fields = {mend.field: mend.value for mend in mends}
    if "backwards" in fields:
        x = OPERATIONS.flipped(x)
    if fields.keys() & set(UNROLLED):
        steps, states = _written_out(layer, x, options, fields, sequences)
    else:
        steps, states = _as_it_is(layer, own, x, options, fields)
    given = steps if layer.return_sequences else states[0]
    result = (given, *states) if layer.return_state else given
    return result, Strand(steps, states[0], bool(layer.go_backwards))


def _as_it_is(
    layer: Any,
    own: Callable[..., Any],
    x: Any,
    options: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> tuple[Any, list[Any]]:
    cell = layer.cell
    changed = {name: v for name, v in fields.items() if name.endswith("activation")}
    kept = {name: getattr(cell, name) for name in changed}
    flags = layer.return_sequences, layer.return_state
    layer.return_sequences = layer.return_state = True
    try:
        for name, value in changed.items():
            setattr(cell, name, keras.activations.get(value))
        steps, *states = own(x, **options)
    finally:
        layer.return_sequences, layer.return_state = flags
        for name, value in kept.items():
            setattr(cell, name, value)
    return steps, states


def _written_out(
    layer: Any, x: Any, options: Mapping[str, Any], fields: Mapping[str, Any], sequences: Sequences
) -> tuple[Any, list[Any]]:
    settings = {**settings_of(layer, options.get("mask"), options.get("initial_state")), **fields}
    state = layer.get_initial_state(batch_size=x.shape[0])
    tensors = recurrent_tensors(layer)
    mask = sequences.mask(x) if settings["masked"] else None
    if layer.go_backwards:
        x = OPERATIONS.flipped(x)
        mask = None if mask is None else OPERATIONS.flipped(mask)
    return unrolled(kind_of(layer), x, tensors, settings, state, OPERATIONS, mask)


# --- A layer at each step -------------------------------------------------------------------------


def at_each_step(model: Any) -> list[Any]:
    """Keras's own wrappers that call a layer at each step of a sequence."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if type(layer).__name__ == "TimeDistributed" and is_native(layer)
    ]


def of_one_step(model: Any) -> set[int]:
    """The ids of layers that cannot be observed, as they see one step at a time."""
    return {
        id(inner)
        for wrapper in at_each_step(model)
        if not works_on_all_steps(wrapper)
        for inner in wrapper._flatten_layers(include_self=False)
    }


def works_on_all_steps(wrapper: Any) -> bool:
    """Whether the layer within gives the same of all steps at once: it works on the last axis."""
    return isinstance(wrapper.layer, keras.layers.Dense)


@contextmanager
def all_steps_at_once(model: Any) -> Iterator[None]:
    """Let such layers be called once, while this lasts."""
    changed = [wrapper for wrapper in at_each_step(model) if works_on_all_steps(wrapper)]

    def called(wrapper: Any) -> Callable[..., Any]:
        def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
            del training, mask
            return wrapper.layer(inputs)

        return call

    for wrapper in changed:
        wrapper.call = called(wrapper)
    try:
        yield
    finally:
        for wrapper in changed:
            del wrapper.call
