"""The layers of a Keras model, watched while it takes a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

from mnist_mlp.ports import lines
from mnist_mlp.ports.lines import line_of
from mnist_mlp.ports.pair import Mend, PairLayer, own_weights, tensor_name
from mnist_mlp.ports.trials import mends_of_layers
from mnist_mlp.reference import Array, Tensors
from mnist_mlp_keras.engine import exact_scalars
from mnist_mlp_keras.port import pair_attention, pair_separable
from mnist_mlp_keras.port.doubles import doubled
from mnist_mlp_keras.port.load import is_recurrent, leaves_of
from mnist_mlp_keras.port.pair_draws import Draws
from mnist_mlp_keras.port.pair_functions import watched_functions
from mnist_mlp_keras.port.pair_layers import (
    activation_name,
    activation_settings,
    from_canonical,
    kind_of,
    penalties_of,
    settings_of,
    shown_kind,
    tensors_of,
    to_canonical,
)
from mnist_mlp_keras.port.pair_mends import as_unbiased, followed, set_layer, variance_before
from mnist_mlp_keras.port.pair_recurrent import (
    Sequences,
    all_steps_at_once,
    input_dropout,
    of_one_step,
    run,
)
from mnist_mlp_keras.port.pair_recurrent import settings_of as recurrent_settings
from mnist_mlp_keras.port.pair_work import (
    DROPOUTS,
    activated_otherwise,
    around,
    cropped,
    done_otherwise,
    followed_by,
    set_otherwise,
)
from mnist_mlp_keras.port.state import number


@contextmanager
def default_type(precision: str) -> Iterator[None]:
    """Let new layers and tensors of real numbers have a type.

    What a model is made with, as the factor of an L1 penalty, is exact in float64, too.
    """
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    try:
        with ExitStack() as stack:
            if precision == "float64":
                stack.enter_context(exact_scalars())
                stack.enter_context(doubled())
            yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


class Observer:
    """The layers of one step, in the order in which they ran."""

    def __init__(self, model: Any, mends: Sequence[Mend] = ()) -> None:
        self.model = model
        within = pair_attention.softmaxes_of(model) | of_one_step(model)
        self.leaves, self._separable = pair_separable.split(
            [
                layer
                for layer in leaves_of(model)
                if not isinstance(layer, keras.layers.InputLayer) and id(layer) not in within
            ]
        )
        self.mends = mends_of_layers(mends)
        self.layers: list[PairLayer] = []
        self.repeated: list[str] = []
        self.later: dict[int, list[tuple[Array, Array]]] = {}
        """Inputs and outputs of the further calls of a layer that runs more than once."""
        self.penalties: dict[str, float] = {}
        self.inputs: dict[int, Array] = {}
        self.outputs: dict[int, Array] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        """Of each layer's result, without the batch."""
        self.result: Array | None = None
        """What the whole model gave, where that is one tensor."""
        self.rough: list[str] = []
        self.tensors: dict[str, tuple[Any, Any, str]] = {}
        """Variable, layer and role, by canonical name."""
        self.of_leaf: dict[int, int] = {}
        """The number of each leaf with weights."""
        self.own: dict[int, int] = {}
        """The number of each weight of no layer, by its place among all weights."""
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
        for place, number_of in other.own.items():
            variable = model.weights[place]
            made.tensors[tensor_name(number_of, "weight")] = (variable, None, "weight")
        made.own = dict(other.own)
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
        whole = self.model not in self.leaves
        if whole:
            self.model.call = self._whole(self.model.call)
        try:
            attentions = pair_attention.watching(self.model, self._attention)
            functions = watched_functions(
                lambda own, kind, settings, x: self._function(own, kind, settings, x, draws)
            )
            separable = pair_separable.by_parts(self._separable)
            at_once = all_steps_at_once(self.model)
            with draws.watching(), attentions, separable, at_once, functions:
                yield
        finally:
            for layer in (*self.leaves, *([self.model] if whole else ())):
                del layer.call

    def _whole(self, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = own(*args, **options)
            self.result = copied(result) if keras.ops.is_tensor(result) else None
            return result

        return call

    def _call(self, layer: Any, leaf: int, draws: Draws) -> Callable[..., Any]:
        own = layer.call

        def call(x: Any, *args: Any, **options: Any) -> Any:
            weights = tensors_of(layer)
            if weights and id(layer) in self._seen:
                return self._again(layer, leaf, lambda: own(x, *args, **options), x)
            self._seen.add(id(layer))
            here = len(self.layers)
            mends = self.mends.get(here, [])
            x = self.sequences.reading(x, mends)
            if set_layer(layer, mends):
                self._add(layer, x, x)
                return x
            if is_recurrent(layer):
                return self._strand(layer, leaf, own, x, options, draws)
            self._add(layer, x, None, _as_called(layer, x, options))
            if weights:
                self._map(layer, here)
                self.of_leaf[leaf] = here
                self.inputs[here] = _in_one_axis(layer, copied(x))
            draws.rate = (
                layer.rate
                if kind_of(layer) in (*DROPOUTS, "alpha_dropout") and layer.rate
                else None
            )
            draws.source = self.source_of(x)
            before = variance_before(layer, mends)
            try:
                result = self._worked(layer, own, here, x, draws, *args, **options)
            finally:
                draws.rate = None
            if before is not None:
                as_unbiased(layer, x, before)
            self._made[id(result)] = here, result
            if kind_of(layer) == "embedding":
                self.sequences.embedded(here, x, result)
            return followed(layer, x, result, mends)

        return call

    def _again(self, layer: Any, leaf: int, own: Callable[[], Any], x: Any) -> Any:
        """One more call of a layer that has run before."""
        self.repeated.append(layer.name)
        if is_recurrent(layer):
            return own()
        made: list[Array] = []
        function: Any = getattr(layer, "activation", None)
        within = kind_of(layer) in ("dense", "conv", "conv_transpose")
        if within and activation_name(function) != "linear":

            def activated(z: Any) -> Any:
                made.append(copied(z))
                return function(z)

            layer.activation = activated
        given = copied(x)
        try:
            result = own()
        finally:
            if within:
                layer.activation = function
        given, gave = (_in_one_axis(layer, a) for a in (given, *(made or [copied(result)])))
        self.later.setdefault(self.of_leaf[leaf], []).append((given, gave))
        return result

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
        draws: Draws,
    ) -> Any:
        """One direction of one recurrent layer, its steps in the order in which it takes them.

        What it drops of its inputs, in all steps the same, is work of its own in front of it.
        """
        rate = input_dropout(layer)
        if rate:
            kind, name = "spatial_dropout", f"{layer.name}: dropout of inputs"
            self.layers.append(PairLayer(len(self.layers), name, kind, {"rate": rate}))
        here = len(self.layers)
        mends = self.mends.get(here, [])
        settings = recurrent_settings(layer, options.get("mask"), options.get("initial_state"))
        self._add(layer, x, None, settings)
        self._map(layer, here)
        self.of_leaf[leaf] = here
        drawn, draws.rate = len(draws.seen), rate or None
        draws.source = self._made.get(id(x), (None, None))[0]
        try:
            result, strand = run(layer, own, x, options, mends, self.sequences)
        finally:
            draws.rate = None
        taken = copied(x)
        if rate and len(draws.seen) > drawn:
            taken = taken * (draws.seen[drawn].keep / (1 - rate))[:, None]
        self.inputs[here] = taken[:, ::-1] if layer.go_backwards else taken
        if any(mend.field == "backwards" for mend in mends):
            self.inputs[here] = self.inputs[here][:, ::-1]
        self.sequences.strands[here] = strand
        self._keep(here, strand.steps)
        given = result[0] if isinstance(result, tuple) else result  # its states stand behind it
        self.shapes[here] = tuple(given.shape[1:])
        self._made[id(given)] = here, given
        return result

    def _worked(
        self,
        layer: Any,
        own: Callable[..., Any],
        here: int,
        x: Any,
        draws: Draws,
        *args: Any,
        **options: Any,
    ) -> Any:
        """The layer's work, with its activation as work of its own, and experiments in effect."""
        mends = self.mends.get(here, [])
        own = done_otherwise(layer, own, mends, draws)
        inner = around(layer, x, mends)

        def made(z: Any) -> Any:
            z = cropped(layer, x, z, mends)
            self._keep(here, z)
            draws.source = here
            return followed_by(z, mends, draws)

        with set_otherwise(layer, x, mends):
            if kind_of(layer) not in ("dense", "conv", "conv_transpose") or (
                activation_name(layer.activation) == "linear"
            ):
                result = made(own(inner, *args, **options))
                if here in self.outputs:
                    self.outputs[here] = _in_one_axis(layer, self.outputs[here])
                return result
            return self._activated(layer, lambda: own(inner, *args, **options), here, made, draws)

    def _activated(
        self,
        layer: Any,
        own: Callable[[], Any],
        here: int,
        made: Callable[[Any], Any],
        draws: Draws,
    ) -> Any:
        """A layer's work and its activation, which has the next number."""
        function = layer.activation
        mends = self.mends.get(here + 1, [])
        otherwise = activated_otherwise(function, mends, draws)
        # The same tensor goes on: softmax hangs the logits it was given on its result.
        layer.activation = lambda z: otherwise(made(z))
        try:
            result = own()
        finally:
            layer.activation = function
        if isinstance(function, keras.layers.Layer):  # it has told of itself
            return result
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
        return followed_by(result, mends, draws)

    def _function(
        self,
        own: Callable[[Any], Any],
        kind: str,
        settings: Mapping[str, Any],
        x: Any,
        draws: Draws,
    ) -> Any:
        """An activation that the user's code calls itself."""
        number_of = len(self.layers)
        line = lines.here()
        self.layers.append(
            PairLayer(
                number_of,
                kind,
                kind,
                settings,
                behind=self._made.get(id(x), (None, None))[0],
                line=None if line is None else lines.shown(line, "layer"),
            )
        )
        mends = self.mends.get(number_of, [])
        result = activated_otherwise(own, mends, draws)(x)
        self._keep(number_of, result)
        self._made[id(result)] = number_of, result
        return followed_by(result, mends, draws)

    def _add(
        self, layer: Any, x: Any, result: Any, settings: Mapping[str, Any] | None = None
    ) -> None:
        here = len(self.layers)
        first = x[0] if isinstance(x, list | tuple) else x
        self.layers.append(
            PairLayer(
                number=here,
                name=f"{layer.name}: {shown_kind(layer)}",
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
        self.shapes[here] = tuple(result.shape[1:])
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

    def take_own(self, model: Any) -> tuple[PairLayer, ...]:
        """Weights that no layer had, which are read and written from now on."""
        mapped = {id(variable) for variable, _, _ in self.tensors.values()}
        trained = {id(variable) for variable in model.trainable_variables}
        rest = {
            place: variable
            for place, variable in enumerate(model.weights)
            if id(variable) not in mapped and "float" in variable.dtype
        }
        places = sorted(rest, key=lambda place: id(rest[place]) not in trained)
        described = [(rest[place].path, rest[place].shape) for place in places]
        count = sum(id(variable) in trained for variable in rest.values())
        found = own_weights(described[:count], described[count:])
        for layer, place in zip(found, places, strict=True):
            self.tensors[tensor_name(layer.number, "weight")] = (rest[place], None, "weight")
            self.own[place] = layer.number
        return found

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


def _as_called(layer: Any, x: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings that a call makes: a frozen base is called in evaluation."""
    if kind_of(layer) != "batch_norm" or options.get("training") is not False:
        return None
    return {**settings_of(layer, tuple(x.shape)), "training": False}


def _in_one_axis(layer: Any, x: Array) -> Array:
    """Features that a projection has in heads."""
    return x.reshape(*x.shape[:2], -1) if pair_attention.is_projection(layer) else x


def copied(tensor: Any) -> Array:
    """Its values, in float64, as they are now."""
    first = tensor[0] if isinstance(tensor, list | tuple) else tensor
    return np.array(number(first), np.float64)
