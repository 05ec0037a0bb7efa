"""A user's model as it was given: made anew or put back for each run, and fed as it wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state  # they have no public names
from keras.src.models.functional import Functional

from mnist_mlp.contract import Array
from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.ports.lines import line_of
from mnist_mlp.ports.protocol import PortLayer
from mnist_mlp.ports.user_code import split_target
from mnist_mlp.reference import scale_pixels
from mnist_mlp_keras.engine import eager_functions
from mnist_mlp_keras.port.scripts import Script

KEYS = ("model", "fit", "loader")
ONE_HOT_LOSSES = (
    "categorical_crossentropy",
    "mean_squared_error",
    "mse",
    "mean_absolute_error",
    "mae",
    "binary_crossentropy",
    "kl_divergence",
    "categorical_focal_crossentropy",
    "categorical_hinge",
)


NAME_COUNTS = "object_name_uids"
"""Where Keras keeps how often it has given each name."""


def _name_counts() -> Mapping[str, int]:
    found: Mapping[str, int] = global_state.get_global_attribute(NAME_COUNTS) or {}
    return found


class Given:
    """What stands under a name in a user's file.

    `maker` makes a model; it is None where a model itself was given, which is then put back to its
    first state before every run. `fit` are the keyword arguments for `Model.fit`.
    """

    def __init__(self, found: Any, *, target: str) -> None:
        self.target = target
        self.found = found
        self._names = dict(_name_counts())
        self.fit: Mapping[str, Any] = {}
        self.loader: Any = None
        self.loop: Any = None
        """What a script's own loop is made of (`loop.Loop`)."""
        if callable(found) and not isinstance(found, keras.Model | type):
            first = self._as_first(found)
            if isinstance(first, Mapping):
                self._read(first)
                self.maker: Callable[[], Any] | None = lambda: _called(found()["model"])
                self._first: Any = self._as_first(lambda: _called(first["model"]))
            else:
                self.maker, self._first = found, first
        elif isinstance(found, Mapping):
            self._read(found)
            made = found["model"]
            self.maker = made if not isinstance(made, keras.Model) else None
            self._first = _called(made)
        else:
            self.maker = found if isinstance(found, type) else None
            self._first = _called(found)
        self._check(self._first)
        self._snapshot: list[tuple[Any, Array]] | None = None

    def _read(self, given: Mapping[str, Any]) -> None:
        self.loop = given.get("loop") if isinstance(self.found, Script) else None
        unknown = [
            str(key) for key in given if key not in (*KEYS, *(["loop"] if self.loop else []))
        ]
        if unknown or "model" not in given:
            what = f"unknown key {unknown[0]!r}" if unknown else "no key 'model'"
            raise UserCodeError(f"{self.target}: {what}; a dictionary may hold {', '.join(KEYS)}")
        self.fit = dict(given.get("fit") or {})
        self.loader = given.get("loader")

    def _check(self, model: Any) -> None:
        if not isinstance(model, keras.Model):
            what = "gives nothing" if model is None else f"is a {type(model).__name__}"
            raise UsageError(
                f"{self.target} {what}: expected a compiled keras.Model, something that returns "
                f"one, or a dictionary with 'model' in it.\nOf a training loop, put what one batch "
                f"does into the train_step of a keras.Model, compile it, and name what makes it."
            )
        if self.loop is None and not getattr(model, "compiled", False):
            if isinstance(self.found, Script):
                raise UsageError(f"{self.target}: it calls fit on a model that is not compiled")
            file, name = split_target(self.target)
            raise UsageError(
                f"{self.target}: the model is not compiled, so check cannot know its loss and its "
                f"optimizer.\nAdd this to {file}, with your own, and check {file}:compiled_{name}:"
                f"\n\n{_compiling(name, given=self.maker is None)}"
            )

    def _as_first(self, make: Callable[[], Any]) -> Any:
        """Make something as if nothing had been made of this file before: Keras counts the names of
        layers up (`conv2d_22`), and users know those of their own run."""
        counts = defaultdict(int, self._names)
        global_state.set_global_attribute(NAME_COUNTS, counts)
        return make()

    def first(self) -> Any:
        """The model that was made when the file was read."""
        return self._first

    def fresh(self) -> Any:
        """A model in its first state."""
        if self.maker is not None:
            model = self._as_first(self.maker)
            self._check(model)
            return model
        assert self._snapshot is not None
        for variable, value in self._snapshot:
            variable.assign(value)
        return self._first

    def drawn(self, seed: int) -> Any:
        """A model with other initial weights, unless it seeds itself."""
        keras.utils.set_random_seed(seed)
        if isinstance(self.found, Script):
            return _called(self.found(seed=seed)["model"])
        return self.fresh()

    def remember(self) -> None:
        """Keep the first state of a model that cannot be made again; it has to be built."""
        if self.maker is not None:
            return
        model = self._first
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        kept = [*model.variables, *(model.optimizer.variables if model.optimizer else ())]
        self._snapshot = [
            (variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in kept
        ]


def _compiling(name: str, *, given: bool) -> str:
    return "\n".join(
        [
            f"def compiled_{name}():",
            f"    model = {name if given else f'{name}()'}",
            "    model.compile(",
            '        optimizer=keras.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy"',
            "    )",
            "    return model",
        ]
    )


def _called(found: Any) -> Any:
    return found() if callable(found) and not isinstance(found, keras.Model) else found


# --- What goes in ---------------------------------------------------------------------------------


def shaped(images: Array, shape: tuple[int, ...], *, dtype: str = "float32") -> Array:
    """uint8 rows as a user gets them: in [0, 1], `(n, *shape)`."""
    return scale_pixels(images, dtype=dtype).reshape(len(images), *shape)


def wanted_shape(model: Any, asked: tuple[int, ...]) -> tuple[int, ...]:
    """The model's own input shape where it has one for as many numbers, else what was asked for."""
    try:
        own = tuple(model.input_shape[1:])
    except (AttributeError, TypeError, ValueError, IndexError):
        return asked
    if all(isinstance(n, int) for n in own) and np.prod(own) == np.prod(asked):
        return own
    return asked


def loss_name(model: Any) -> str:
    """Name of the compiled loss."""
    return loss_names(model)[0] if len(loss_names(model)) == 1 else ""


def loss_names(model: Any) -> tuple[str, ...]:
    """Names of the compiled losses, one for each output that has its own."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        loss = list(loss.values())
    losses = loss if isinstance(loss, list | tuple) else [loss]
    return tuple(name for each in losses if (name := named_loss(each)))


def losses_of_outputs(model: Any, keys: Sequence[str], count: int) -> tuple[str, ...]:
    """Name of the compiled loss of each of several outputs, empty for one without a loss; of
    outputs in a dictionary, by their `keys`."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        order = keys or getattr(model, "output_names", None) or ()
        found = [named_loss(loss.get(name)) for name in order]
    elif isinstance(loss, list | tuple):
        found = [named_loss(each) for each in loss]
    else:
        found = [named_loss(loss)] * count
    return tuple(found) if len(found) == count > 1 else ()


def named_loss(loss: Any) -> str:
    """The name of a loss, or what is given for one; empty for none."""
    if isinstance(loss, str):
        return loss
    if loss is None or callable(getattr(loss, "__func__", None)):
        return ""  # none was compiled: `Model.loss` is then a method
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))


def wants_one_hot(model: Any, x: Array, labels: Array, classes: int) -> bool:
    """Whether the loss takes one-hot labels: told by its name, else by trying a step."""
    name = loss_name(model).lower()
    if "sparse" in name:
        return False
    if name in ONE_HOT_LOSSES:
        return True
    try:
        _tried_loss(model, x, one_hot(labels, classes))
    except Exception:  # whatever a user's code raises on labels of the wrong form
        return False
    return True


def _tried_loss(model: Any, x: Array, y: Array) -> None:
    """One evaluation step, which moves no weight."""
    with eager_functions():
        if loss_name(model):
            value = model.compute_loss(x=x, y=keras.ops.convert_to_tensor(y), y_pred=model(x))
            np.asarray(keras.ops.convert_to_numpy(value))
            return
        kept = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in model.variables]
        optimizer = model.optimizer
        if optimizer is not None and optimizer.built:
            kept += [(v, np.array(keras.ops.convert_to_numpy(v))) for v in optimizer.variables]
        try:
            model.train_step((keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)))
        finally:
            for variable, value in kept:
                variable.assign(value)


def one_hot(labels: Array, classes: int) -> Array:
    """float32 (n, classes)."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels, np.int64)]


# --- Layers ---------------------------------------------------------------------------------------


def is_callable(model: Any) -> bool:
    """Whether a model says what it gives; one that has a training step of its own need not."""
    return type(model).call is not keras.Model.call


def layers_in_order(model: Any, x: Array) -> list[Any]:
    """Leaf layers as one batch runs through them; builds the model on its way.

    Each is there once, but one with settings (a dropout) as often as it is run.
    """
    order: list[Any] = []
    model(x[:1]) if not model.built else None
    with _noted_calls(leaves_of(model), order), eager_functions():
        model(x)
    return order


RECURRENT = ("LSTM", "GRU", "SimpleRNN")
"""Layers that are made of a cell, and are looked at as a whole."""


def leaves_of(model: Any) -> list[Any]:
    """Layers that are made of no others, but for an activation that is a layer itself; recurrent
    ones without their cells."""
    inside = {
        id(cell)
        for layer in model._flatten_layers(include_self=False)
        if is_recurrent(layer)
        for cell in layer._flatten_layers(include_self=False)
    }
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if is_recurrent(layer) or (id(layer) not in inside and not _parts(layer))
    ]


def _parts(layer: Any) -> list[Any]:
    """The layers that one is made of, but for its activation."""
    own = getattr(layer, "activation", None) if is_native(layer) else None
    return [part for part in layer._flatten_layers(include_self=False) if part is not own]


def is_recurrent(layer: Any) -> bool:
    """Whether it is one of Keras's own recurrent layers."""
    return type(layer).__name__ in RECURRENT and is_native(layer)


@contextmanager
def passing_by(model: Any, kinds: Sequence[str]) -> Iterator[None]:
    """Let layers of some kinds hand on what they are given, while this lasts."""

    def call(x: Any, *args: Any, **options: Any) -> Any:
        return x

    passed = [layer for layer in leaves_of(model) if type(layer).__name__ in kinds]
    for layer in passed:
        layer.call = call
    try:
        yield
    finally:
        for layer in passed:
            del layer.call


@contextmanager
def _noted_calls(layers: Sequence[Any], order: list[Any]) -> Iterator[None]:
    def noted(layer: Any) -> Callable[..., Any]:
        own = layer.call

        def call(*args: Any, **options: Any) -> Any:
            if settings_of(layer) or not any(layer is known for known in order):
                order.append(layer)
            return own(*args, **options)

        return call

    hooked = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    for layer in hooked:
        layer.call = noted(layer)
    try:
        yield
    finally:
        for layer in hooked:
            del layer.call


def described(layer: Any) -> PortLayer:
    """A layer for the report."""
    dense = isinstance(layer, keras.layers.Dense)
    return PortLayer(
        name=layer.name,
        kind=type(layer).__name__,
        inputs=int(layer.kernel.shape[0]) if dense and layer.built else None,
        units=int(layer.units) if dense else None,
        bias=bool(layer.use_bias) if dense else True,
        parameters=int(layer.count_params()) if layer.built else 0,
        dtype=str(layer.variable_dtype) if layer.weights else "",
        settings=settings_of(layer),
        native=is_native(layer),
        line=line_of(layer),
    )


def settings_of(layer: Any) -> dict[str, float]:
    """Rate of a dropout; epsilon and momentum of a normalisation."""
    if not is_native(layer):
        return {}
    settings = {name: getattr(layer, name, None) for name in ("rate", "epsilon", "momentum")}
    return {name: float(v) for name, v in settings.items() if isinstance(v, int | float)}


def is_native(layer: Any) -> bool:
    """Whether a layer's class is Keras's own."""
    return type(layer).__module__.partition(".")[0] == "keras"


def hidden(model: Any) -> tuple[str, ...] | None:
    """Nothing, where layers of Keras's own are all that a training step runs; else nobody knows."""
    parts = [*model._flatten_layers(), *getattr(model, "operations", ())]
    known = type(model).train_step is keras.Model.train_step and all(map(_is_stock, parts))
    return () if known else None


def _is_stock(part: Any) -> bool:
    """Whether all that a layer, or a model within a model, does is known by its class."""
    if isinstance(part, keras.Model):
        return type(part).call in (keras.Sequential.call, Functional.call)
    return (
        isinstance(part, keras.layers.Layer)
        and is_native(part)
        and not isinstance(part, keras.layers.Lambda)
    )


def dense_of(layers: Sequence[Any]) -> list[Any]:
    """The Dense ones."""
    return [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
