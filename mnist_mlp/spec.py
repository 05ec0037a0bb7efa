"""The specification: an immutable description of what to train, independent of any framework.

`Spec()` is the classic tutorial: MNIST, 784-128-64-10, sigmoid, softmax, SGD 0.01, batch 128,
10 epochs. Keys and defaults are those of `configs/tutorial.toml`. `mnist_mlp.reference` has the
formulas behind the optimizer keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mnist_mlp.errors import UsageError
from mnist_mlp.nearest import did_you_mean
from mnist_mlp.shown import shown

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu", "silu")
"""Hidden activations without a parameter. The only one with a parameter is `leaky_relu(slope)`."""

_LEAKY_RELU = re.compile(r"leaky_relu\((?P<slope>[0-9.eE+-]+)\)")

MAX_SEED = 2**32 - 1  # scikit-learn's limit for `random_state`
MAX_COUNT = 2**31 - 1
"""Largest number of units, rows, steps or epochs. Frameworks count them in 32 bits. Whether so many
fit into the memory is checked with the data set at hand (`mnist_mlp.plan`)."""
MAX_LAYERS = 1000
MAX_CHANGES = 1000  # of the learning rate

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SpecError(UsageError):
    """A specification with an unknown key, a wrong type or values that don't fit together."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataSpec(_Frozen):
    """Which rows to use, and how to split them.

    `dataset` is `auto` (MNIST if it is available, else the embedded digits), `mnist` or `digits`.
    `test_fraction` is the share of rows in the test set. `rows` limits the data set to its first
    rows (`"all"`: no limit).
    """

    dataset: Literal["auto", "mnist", "digits"] = "auto"
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    rows: Annotated[int, Field(ge=2, le=MAX_COUNT)] | Literal["all"] = "all"


class ModelSpec(_Frozen):
    """Layers: `layer_sizes` from input to classes, one activation per layer after the input.

    If only `layer_sizes` is given, every hidden layer gets the default hidden activation, and the
    last layer softmax.
    """

    layer_sizes: Annotated[
        tuple[Count, ...], Field(strict=False, min_length=2, max_length=MAX_LAYERS + 1)
    ] = (784, 128, 64, 10)
    activations: Annotated[tuple[str, ...], Field(strict=False)] = ("sigmoid", "sigmoid", "softmax")

    @model_validator(mode="before")
    @classmethod
    def _repeat_the_first_hidden_activation(cls, value: Any) -> Any:
        if isinstance(value, dict) and "layer_sizes" in value and "activations" not in value:
            sizes = value["layer_sizes"]
            if isinstance(sizes, list | tuple) and len(sizes) >= 2:
                hidden = cls.model_fields["activations"].default[0]
                return {**value, "activations": repeated_activations(hidden, layers=len(sizes) - 1)}
        return value

    @field_validator("activations")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        hidden = [_canonical(name) for name in names[:-1]]
        if not names or names[-1] != "softmax":
            last = names[-1] if names else "nothing"
            raise ValueError(f"the last activation must be 'softmax', not {shown(last)}")
        return (*hidden, "softmax")

    @model_validator(mode="after")
    def _one_activation_per_layer(self) -> Self:
        layers = len(self.layer_sizes) - 1
        if len(self.activations) != layers:
            raise ValueError(
                f"{len(self.activations)} activations for {layers} layers after the input "
                f"(layer_sizes has {layers + 1} entries): give one per layer, softmax last"
            )
        if self.layer_sizes[-1] < 2:
            raise ValueError("layer_sizes must end with the number of classes, at least 2")
        return self

    @property
    def layers(self) -> tuple[tuple[int, int, str], ...]:
        """`(inputs, units, activation)` of each layer after the input, from layer 0.

        >>> ModelSpec(layer_sizes=(784, 30, 10)).layers
        ((784, 30, 'sigmoid'), (30, 10, 'softmax'))
        """
        sizes = self.layer_sizes
        return tuple(zip(sizes[:-1], sizes[1:], self.activations, strict=True))

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum((inputs + 1) * units for inputs, units, _ in self.layers)


class OptimizerSpec(_Frozen):
    """The update rule. See `mnist_mlp.reference.update` for the formulas.

    `schedule` holds pairs `[step, learning_rate]`: the learning rate changes to this value at this
    step (counted from 1). `clip_norm` limits the global gradient norm (0: no limit). `beta_1`,
    `beta_2` and `epsilon` belong to Adam, `momentum` and `nesterov` to SGD.
    """

    name: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    clip_norm: NonNegative = 0.0
    schedule: Annotated[
        tuple[
            Annotated[tuple[Count, Positive], Field(strict=False)],
            ...,
        ],
        Field(strict=False, max_length=MAX_CHANGES),
    ] = ()
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Positive = 1e-7

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0")
        if self.name == "adam" and self.momentum > 0:
            raise ValueError("momentum belongs to sgd; adam has beta_1")
        if self.name == "sgd":
            for key in ("beta_1", "beta_2", "epsilon"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} belongs to adam; set optimizer.name = 'adam'")
        steps = [step for step, _ in self.schedule]
        if steps != sorted(set(steps)):
            raise ValueError(f"schedule steps must increase, not {shown(steps)}")
        return self

    def rate_at(self, step: int) -> float:
        """Learning rate of a step (counted from 1).

        >>> halved = OptimizerSpec(learning_rate=0.1, schedule=((100, 0.05),))
        >>> halved.rate_at(99), halved.rate_at(100)
        (0.1, 0.05)
        """
        rate = self.learning_rate
        for first, scheduled in self.schedule:
            if step >= first:
                rate = scheduled
        return rate

    @property
    def plain_sgd(self) -> bool:
        """Whether the rule is just `w - lr * g`, so that a framework's own SGD can be used."""
        return self.name == "sgd" and self.momentum == 0 and self.weight_decay == 0


class TrainingSpec(_Frozen):
    """Batch size, number of epochs, floating-point precision, and early stopping.

    With `patience` above 0, training stops after this many epochs without an improvement of the
    validation loss by more than `min_delta`. `mnist_mlp.stopping` has the definition.
    """

    batch_size: Count = 128
    epochs: Count = 10
    precision: Literal["float32", "float64"] = "float32"
    patience: Annotated[int, Field(ge=0)] = 0
    min_delta: NonNegative = 0.0

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_delta > 0 and self.patience == 0:
            raise ValueError("min_delta needs patience > 0")
        return self


class Spec(_Frozen):
    """One multilayer perceptron and its training, independent of any framework.

    Examples
    --------
    >>> Spec().model.layer_sizes, Spec().model.parameters
    ((784, 128, 64, 10), 109386)
    >>> Spec(training=TrainingSpec(epochs=2)).digest == Spec().digest
    False
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "tutorial"
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 42
    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    training: TrainingSpec = TrainingSpec()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything except the name: equal for specs that train the same."""
        return spec_digest(self.model_dump(mode="json"))

    def as_toml(self) -> str:
        """The text of a configuration file with these values."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json")).rstrip()


def spec_digest(document: Mapping[str, Any]) -> str:
    """`Spec.digest` of a specification as a JSON object, such as the `spec` of a `run.json`."""
    content = {key: value for key, value in document.items() if key != "name"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def activation_parts(name: str) -> tuple[str, float]:
    """Split a hidden activation into its kind and its slope (0 if it has none).

    Raises `ValueError` for an unknown name; the text suggests the nearest known one.

    >>> activation_parts("tanh"), activation_parts("leaky_relu(0.2)")
    (('tanh', 0.0), ('leaky_relu', 0.2))
    >>> activation_parts("sigmiod")
    Traceback (most recent call last):
    ValueError: unknown activation 'sigmiod'; did you mean 'sigmoid'?
    """
    if name in ACTIVATIONS:
        return name, 0.0
    match = _LEAKY_RELU.fullmatch(name.replace(" ", ""))
    if match:
        try:
            slope = float(match["slope"])
        except ValueError:  # the pattern also matches text such as 1e or 0.1.2
            slope = -1.0
        if 0 <= slope < 1:
            return "leaky_relu", slope
        raise ValueError(f"{shown(name)}: the slope of leaky_relu must be in [0, 1)")
    if name == "softmax":
        raise ValueError("softmax is for the last layer only")
    known = [*ACTIVATIONS, "leaky_relu(0.2)"]
    raise ValueError(f"unknown activation {shown(name)}{did_you_mean(name, known)}")


def _canonical(name: str) -> str:
    """One spelling per activation, so that `leaky_relu( .20)` and `(0.2)` have the same digest."""
    kind, slope = activation_parts(name)
    return f"leaky_relu({slope})" if kind == "leaky_relu" else kind


def repeated_activations(hidden: str, *, layers: int) -> list[str]:
    """The activations of `layers` layers: softmax for the last one, `hidden` for the others."""
    return [hidden] * (layers - 1) + ["softmax"]


def parse_spec(raw: dict[str, Any], *, origins: Mapping[str, str] | None = None) -> Spec:
    """Check a nested dictionary and make a `Spec` of it.

    `origins` gives the source of each value by its key (`training.epochs`), for error messages.

    Raises
    ------
    SpecError
        A key or value is wrong. The text names the key, its value, what was expected, and for an
        unknown key the nearest known one.

    Examples
    --------
    >>> parse_spec({"training": {"epochs": 3}}).training.epochs
    3
    >>> parse_spec({"training": {"epoch": 3}})
    Traceback (most recent call last):
    mnist_mlp.spec.SpecError: unknown key 'training.epoch'; did you mean 'epochs'?
    """
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        raise SpecError(_explain(error, origins or {})) from None


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        # pydantic adds the branch of a union (`int`, `literal['all']`) to the location. Users know
        # only keys and indices, so everything else is dropped.
        path = [part for part in problem["loc"] if isinstance(part, int) or part in _KEY_NAMES]
        if problem["type"] == "extra_forbidden":
            key = str(problem["loc"][-1])
            where = known_keys(tuple(str(part) for part in problem["loc"][:-1]))
            full = ".".join(str(part) for part in problem["loc"])
            lines.append(f"unknown key {shown(full)}{did_you_mean(key, where)}")
            continue
        message = problem["msg"].removeprefix("Value error, ")
        value = problem["input"]
        at = ".".join(str(part) for part in path)
        given = "" if isinstance(value, dict) else f" = {shown(value)}"
        sources = _sources(".".join(str(part) for part in path[:2]), origins)
        source = f" (from {', '.join(sources)})" if sources else ""
        lines.append(f"{at}{given}{source}: {message}" if at else message)
    unique = list(dict.fromkeys(lines))  # each branch of a union reports its own problem
    return "; ".join(unique[:3])  # more than three would hide the first


def _sources(key: str, origins: Mapping[str, str]) -> list[str]:
    """Where a value comes from; of a section, where all comes from that is no default."""
    if key in origins:
        return [origins[key]]
    found = [origin for leaf, origin in origins.items() if leaf.startswith(f"{key}.")]
    return [origin for origin in dict.fromkeys(found) if origin != "default"]


def known_keys(section: tuple[str, ...] = ()) -> list[str]:
    """Keys of the top level, or of a section; empty if there is no such section."""
    fields = Spec.model_fields
    if section:
        inner = fields[section[0]].annotation if section[0] in fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        fields = inner.model_fields
    return list(fields)


def leaf_keys() -> list[str]:
    """Every settable key: `section.key`, or just `key` at the top level."""
    leaves = []
    for key in known_keys():
        inner = known_keys((key,))
        leaves += [f"{key}.{leaf}" for leaf in inner] if inner else [key]
    return leaves


_KEY_NAMES = {part for leaf in leaf_keys() for part in leaf.split(".")}
