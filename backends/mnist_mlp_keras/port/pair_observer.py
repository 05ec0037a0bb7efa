"""The layers of a Keras model, watched while it takes a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports.lines import line_of
from mnist_mlp.ports.pair import Mend, PairLayer, tensor_name
from mnist_mlp.ports.trials import mends_of_layers
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_keras.port import pair_attention
from mnist_mlp_keras.port.load import is_recurrent, leaves_of
from mnist_mlp_keras.port.pair_draws import Draws
from mnist_mlp_keras.port.pair_layers import (
    activation_name,
    activation_settings,
    from_canonical,
    kind_of,
    penalties_of,
    settings_of,
    tensors_of,
    to_canonical,
)
from mnist_mlp_keras.port.pair_mends import as_unbiased, followed, set_layer, variance_before
from mnist_mlp_keras.port.pair_recurrent import Sequences, all_steps_at_once, of_one_step, run
from mnist_mlp_keras.port.pair_recurrent import settings_of as recurrent_settings
from mnist_mlp_keras.port.state import number

DROPOUTS = ("dropout", "spatial_dropout")


@contextmanager
def default_type(precision: str) -> Iterator[None]:
    """Let new layers and tensors of real numbers have a type."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


class Observer:
    """The layers of one step, in the order in which they ran."""

    def __init__(self, model: Any, mends: Sequence[Mend] = ()) -> None:
        self.model = model
        within = pair_attention.softmaxes_of(model) | of_one_step(model)
        self.leaves = [
            layer
            for layer in leaves_of(model)
            if not isinstance(layer, keras.layers.InputLayer) and id(layer) not in within
        ]
        self.mends = mends_of_layers(mends)
        self.layers: list[PairLayer] = []
        self.repeated: list[str] = []
        self.penalties: dict[str, float] = {}
        self.inputs: dict[int, Array] = {}
        self.outputs: dict[int, Array] = {}
        self.rough: list[str] = []
        self.tensors: dict[str, tuple[Any, Any, str]] = {}
        """Variable, layer and role, by canonical name."""
        self.of_leaf: dict[int, int] = {}
        """The number of each leaf with weights."""
        self._seen: set[int] = set()
        self.sequences = Sequences()
        self._made: dict[int, tuple[int, Any]] = {}
        """By its id, each layer's result, which is kept so that the id stays its own."""

    @classmethod
    def like(cls, other: Observer, model: Any, mends: Sequence[Mend] = ()) -> Observer:
        """Of another model of the same layers, numbered as those of `other`."""
        made = cls(model, mends)
        for leaf, number_of in other.of_leaf.items():
            made._map(made.leaves[leaf], number_of)
            made.of_leaf[leaf] = number_of
        return made

    def _map(self, layer: Any, number_of: int) -> None:
        for role, variable in tensors_of(layer).items():
            self.tensors[tensor_name(number_of, role)] = (variable, layer, role)
        for role, factor in penalties_of(layer).items():
            self.penalties[tensor_name(number_of, role)] = factor

    @contextmanager
    def watching(self, draws: Draws) -> Iterator[None]:
        """Observe the layers' calls, while this lasts."""
        for leaf, layer in enumerate(self.leaves):
            layer.call = self._call(layer, leaf, draws)
        try:
            attentions = pair_attention.watching(self.model, self._attention)
            with draws.watching(), attentions, all_steps_at_once(self.model):
                yield
        finally:
            for layer in self.leaves:
                del layer.call

    def _call(self, layer: Any, leaf: int, draws: Draws) -> Callable[..., Any]:
        own = layer.call

        def call(x: Any, *args: Any, **options: Any) -> Any:
            weights = tensors_of(layer)
            if weights and id(layer) in self._seen:
                self.repeated.append(layer.name)
                return own(x, *args, **options)
            self._seen.add(id(layer))
            here = len(self.layers)
            mends = self.mends.get(here, [])
            x = self.sequences.reading(x, mends)
            if set_layer(layer, mends):
                self._add(layer, x, x)
                return x
            if is_recurrent(layer):
                return self._strand(layer, leaf, own, x, options, mends)
            self._add(layer, x, None)
            if weights:
                self._map(layer, here)
                self.of_leaf[leaf] = here
                self.inputs[here] = _in_one_axis(layer, copied(x))
            draws.rate = layer.rate if kind_of(layer) in DROPOUTS and layer.rate else None
            draws.source = self.source_of(x)
            before = variance_before(layer, mends)
            try:
                result = self._activated(layer, own, here, x, *args, **options)
            finally:
                draws.rate = None
            if before is not None:
                as_unbiased(layer, x, before)
            self._made[id(result)] = here, result
            if kind_of(layer) == "embedding":
                self.sequences.embedded(here, x, result)
            return followed(layer, x, result, mends)

        return call

    def _attention(self, layer: Any, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is between the projections of an attention; answers with its experiments."""
        here = len(self.layers)
        name = f"{layer.name}: MultiHeadAttention"
        self.layers.append(PairLayer(here, name, "attention", settings))
        return {mend.field: mend.value for mend in self.mends.get(here, [])}

    def _strand(
        self,
        layer: Any,
        leaf: int,
        own: Callable[..., Any],
        x: Any,
        options: Mapping[str, Any],
        mends: Sequence[Mend],
    ) -> Any:
        """One direction of one recurrent layer, its steps in the order in which it takes them."""
        here = len(self.layers)
        settings = recurrent_settings(layer, options.get("mask"), options.get("initial_state"))
        self._add(layer, x, None, settings)
        self._map(layer, here)
        self.of_leaf[leaf] = here
        result, strand = run(layer, own, x, options, mends, self.sequences)
        self.inputs[here] = copied(x)[:, ::-1] if layer.go_backwards else copied(x)
        if any(mend.field == "backwards" for mend in mends):
            self.inputs[here] = self.inputs[here][:, ::-1]
        self.sequences.strands[here] = strand
        self._keep(here, strand.steps)
        self._made[id(result)] = here, result
        return result

    def _activated(
        self, layer: Any, own: Callable[..., Any], here: int, *args: Any, **options: Any
    ) -> Any:
        """The layer's work, with its activation as work of its own."""
        function = getattr(layer, "activation", None)
        if kind_of(layer) not in ("dense", "conv", "conv_transpose") or (
            activation_name(function) == "linear"
        ):
            result = own(*args, **options)
            self._keep(here, result)
            if here in self.outputs:
                self.outputs[here] = _in_one_axis(layer, self.outputs[here])
            return result

        def activated(z: Any) -> Any:
            self._keep(here, z)
            # The same tensor goes on: softmax hangs the logits it was given on its result.
            return function(z) if function is not None else z

        layer.activation = activated
        try:
            result = own(*args, **options)
        finally:
            layer.activation = function
        name = activation_name(function)
        self.layers.append(
            PairLayer(
                len(self.layers),
                f"{layer.name}: {name}",
                name,
                activation_settings(name),
                line=line_of(layer),
            )
        )
        self._keep(len(self.layers) - 1, result)
        return result

    def _add(
        self, layer: Any, x: Any, result: Any, settings: Mapping[str, Any] | None = None
    ) -> None:
        here = len(self.layers)
        first = x[0] if isinstance(x, list | tuple) else x
        self.layers.append(
            PairLayer(
                number=here,
                name=f"{layer.name}: {type(layer).__name__}",
                kind=kind_of(layer),
                behind=self.source_of(first),
                settings=settings or settings_of(layer, tuple(first.shape)),
                shapes={
                    role: to_canonical(layer, role, number(v)).shape
                    for role, v in tensors_of(layer).items()
                },
                line=line_of(layer),
            )
        )
        if result is not None:
            self._keep(here, result)

    def _keep(self, here: int, result: Any) -> None:
        if not keras.ops.is_tensor(result):
            return
        self.outputs[here] = copied(result)
        kind = keras.backend.standardize_dtype(result.dtype)
        if "float" in kind and kind != keras.config.floatx():
            self.rough.append(f"{self.layers[here].name} ({kind})")

    def source_of(self, tensor: Any) -> int | None:
        """The number of the layer whose result a tensor is, as it is."""
        return self._made.get(id(tensor), (None, None))[0]

    def head_of(self, tensor: Any) -> int | None:
        """The same of the last layer with weights, behind which there may be activations."""
        number_of = self.source_of(tensor)
        while number_of is not None and number_of not in self.inputs:
            number_of = self.layers[number_of].behind
        return number_of

    # --- Weights ----------------------------------------------------------------------------------

    def read(self) -> Tensors:
        """Weights and running statistics, in canonical layout."""
        return {
            name: to_canonical(layer, role, number(variable)).copy()
            for name, (variable, layer, role) in self.tensors.items()
        }

    def write(self, values: Tensors) -> None:
        """Set them."""
        for name, (variable, layer, role) in self.tensors.items():
            if name in values:
                whole = number(variable)
                variable.assign(from_canonical(layer, role, np.asarray(values[name]), whole))


def _in_one_axis(layer: Any, x: Array) -> Array:
    """Features that a projection has in heads."""
    return x.reshape(*x.shape[:2], -1) if pair_attention.is_projection(layer) else x


def copied(tensor: Any) -> Array:
    """Its values, in float64, as they are now."""
    first = tensor[0] if isinstance(tensor, list | tuple) else tensor
    return np.array(number(first), np.float64)
