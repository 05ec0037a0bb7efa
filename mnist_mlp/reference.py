"""The definition of the mathematics, in NumPy, in the precision of its arguments.

Everything here is a pure function of arrays. A backend must compute the same values. Run in
float64, these functions decide which of two float32 results is further from the exact value. The
NumPy backend consists of them.

Notation: `x` are inputs `(n, inputs)`, `z` pre-activations `(n, units)` and `a` activations
`(n, units)`; `g` is a gradient with the shape of its parameter. The logits are the last layer's
`z`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.spec import OptimizerSpec, activation_parts

Array = NDArray[Any]
Tensors = Mapping[str, Array]
"""Arrays by canonical name: `layers.0.kernel` (inputs, units), `layers.0.bias` (units,), ..."""

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def kernel_name(layer: int) -> str:
    """Canonical name of a layer's kernel, `(inputs, units)`."""
    return f"layers.{layer}.kernel"


def bias_name(layer: int) -> str:
    """Canonical name of a layer's bias, `(units,)`."""
    return f"layers.{layer}.bias"


def layer_of(name: str) -> int:
    """The layer, from 0, of a tensor by its canonical name."""
    return name_parts(name)[0]


def name_parts(name: str) -> tuple[int, str]:
    """Layer and part (`kernel`, `bias`) of a canonical name: the inverse of `kernel_name`.

    >>> name_parts("layers.2.bias")
    (2, 'bias')
    """
    _, layer, part = name.split(".")
    return int(layer), part


def is_kernel(name: str) -> bool:
    """Whether a canonical name is a kernel's."""
    return name_parts(name)[1] == "kernel"


def tensor_name(layer: int, part: str) -> str:
    """Canonical name of a layer's `kernel` or `bias`."""
    return {"kernel": kernel_name, "bias": bias_name}[part](layer)


def scale_pixels(images: Array, *, dtype: Any) -> Array:
    """Pixels as floats in [0, 1]: uint8 divided by 255.

    Not multiplied by 1/255: that differs by one ulp for 126 of the 256 greys in float32.

    Examples
    --------
    >>> scale_pixels(np.array([0, 51, 255], np.uint8), dtype=np.float32)
    array([0. , 0.2, 1. ], dtype=float32)
    """
    x: Array = np.divide(images, np.asarray(255, dtype=dtype), dtype=dtype)
    return x


# --- Activations ----------------------------------------------------------------------------------
# Each function returns the activation and its derivative, both shaped and typed like `z`.


def sigmoid(z: Array) -> Array:
    """`1 / (1 + exp(-z))`, without overflow for large negative `z`."""
    e = np.exp(-np.abs(z))  # the exponent is never positive, so exp cannot overflow
    # The numerator is 1 where z >= 0, and otherwise e, which is at most 1. `np.where` would take
    # longer than everything else here.
    s: Array = np.maximum(e, z >= 0) / (1 + e)
    return s


def _gelu(z: Array) -> tuple[Array, Array]:
    from scipy.special import erfc

    z64 = z.astype(np.float64)  # so that a float32 result is rounded only once
    phi = 0.5 * erfc(-z64 / sqrt(2))
    density = np.exp(-0.5 * z64 * z64) / sqrt(2 * pi)
    return (z64 * phi).astype(z.dtype), (phi + z64 * density).astype(z.dtype)


def _linear(z: Array) -> tuple[Array, Array]:
    return z, np.ones_like(z)


def _relu(z: Array) -> tuple[Array, Array]:
    return np.maximum(z, 0), (z > 0).astype(z.dtype)


def _sigmoid(z: Array) -> tuple[Array, Array]:
    a = sigmoid(z)
    return a, a * (1 - a)


def _tanh(z: Array) -> tuple[Array, Array]:
    a = np.tanh(z)
    return a, 1 - a * a


def _softplus(z: Array) -> tuple[Array, Array]:
    # log(1 + exp(z)), rearranged so that exp cannot overflow for large z.
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), sigmoid(z)


def _elu(z: Array, alpha: float = 1.0, scale: float = 1.0) -> tuple[Array, Array]:
    # np.where computes both branches: without the minimum, exp would overflow for large z.
    negative = alpha * np.expm1(np.minimum(z, 0))
    a = scale * np.where(z > 0, z, negative)
    slope = scale * np.where(z > 0, 1, negative + alpha)
    return a.astype(z.dtype, copy=False), slope.astype(z.dtype, copy=False)


def _selu(z: Array) -> tuple[Array, Array]:
    return _elu(z, _SELU_ALPHA, _SELU_SCALE)


def _silu(z: Array) -> tuple[Array, Array]:
    s = sigmoid(z)
    return z * s, s * (1 + z * (1 - s))


_ACTIVATIONS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "linear": _linear,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "softplus": _softplus,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
}


def activate(name: str, z: Array) -> tuple[Array, Array]:
    """A hidden activation and its derivative at `z`, both shaped and typed like `z`.

    At 0, the derivative of ReLU is 0 and that of leaky ReLU is its slope, as in Keras and torch.

    Examples
    --------
    >>> values, derivatives = activate("leaky_relu(0.5)", np.array([-2.0, 0.0, 3.0]))
    >>> values.tolist(), derivatives.tolist()
    ([-1.0, 0.0, 3.0], [0.5, 0.5, 1.0])
    """
    kind, slope = activation_parts(name)
    if kind == "leaky_relu":
        steep = np.where(z > 0, np.asarray(1, z.dtype), np.asarray(slope, z.dtype))
        return z * steep, steep
    return _ACTIVATIONS[kind](z)


# --- One step -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Forward:
    """`z` of every layer, `a` and `da/dz` of every hidden layer, each `(n, units)`."""

    pre_activations: tuple[Array, ...]
    activations: tuple[Array, ...]
    slopes: tuple[Array, ...]

    @property
    def logits(self) -> Array:
        """Pre-softmax outputs, `(n, classes)`."""
        return self.pre_activations[-1]


def forward(weights: Tensors, activations: Sequence[str], x: Array) -> Forward:
    """Run the network on `x` `(n, inputs)`; `activations` as in `Spec.model.activations`.

    Examples
    --------
    >>> weights = {"layers.0.kernel": np.eye(2), "layers.0.bias": np.array([0.0, 0.5])}
    >>> forward(weights, ["softmax"], np.array([[1.0, 2.0]])).logits
    array([[1. , 2.5]])
    """
    zs, hs, slopes = [], [], []
    a = x
    for layer, name in enumerate(activations):
        z = a @ weights[kernel_name(layer)] + weights[bias_name(layer)]
        zs.append(z)
        if layer < len(activations) - 1:
            a, slope = activate(name, z)
            hs.append(a)
            slopes.append(slope)
    return Forward(tuple(zs), tuple(hs), tuple(slopes))


def log_softmax(logits: Array) -> Array:
    """`z - logsumexp(z)` over the last axis, `(n, classes)`.

    Complex logits are allowed, so that the function can be differentiated by a complex step
    (`mnist_mlp.parity.causes.loss`). The shift is real, so it does not change the derivative.
    """
    # At most 0, so exp cannot overflow.
    shifted = logits - logits.real.max(axis=-1, keepdims=True)

    normal: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normal


def sample_losses(logits: Array, labels: Array) -> Array:
    """Categorical cross-entropy of each row, from logits `(n, classes)`; shape `(n,)`.

    Two equal logits give a loss of `log 2`. Large logits do not overflow, because no probability is
    computed:

    >>> sample_losses(np.array([[0.0, 0.0], [1000.0, 0.0]]), np.array([0, 1])).round(4)
    array([6.931e-01, 1.000e+03])
    """
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def backward(weights: Tensors, x: Array, labels: Array, passed: Forward) -> dict[str, Array]:
    """Gradient of the mean cross-entropy over the batch, by canonical name."""
    n = len(labels)
    # With respect to the logits, the gradient is (softmax - one-hot labels) / n.
    dz = np.exp(log_softmax(passed.logits))
    dz[np.arange(n), labels] -= 1
    dz /= n
    gradient: dict[str, Array] = {}
    for layer in reversed(range(len(passed.pre_activations))):
        below = passed.activations[layer - 1] if layer else x
        gradient[kernel_name(layer)] = below.T @ dz
        gradient[bias_name(layer)] = dz.sum(axis=0)
        if layer:
            dz = (dz @ weights[kernel_name(layer)].T) * passed.slopes[layer - 1]
    return gradient


# --- The update -----------------------------------------------------------------------------------


def global_norm(gradient: Tensors) -> float:
    """Euclidean norm over all gradients together."""
    return float(np.sqrt(sum(float(np.vdot(g, g)) for g in gradient.values())))


def clip_by_global_norm(gradient: Tensors, clip_norm: float) -> dict[str, Array]:
    """Scale all gradients by `clip_norm / norm` if their global norm exceeds `clip_norm`.

    A `clip_norm` of 0 means no clipping.

    Examples
    --------
    >>> clip_by_global_norm({"a": np.array([3.0]), "b": np.array([4.0])}, 1.0)
    {'a': array([0.6]), 'b': array([0.8])}
    """
    if clip_norm == 0:
        return dict(gradient)
    norm = global_norm(gradient)
    if norm <= clip_norm:
        return dict(gradient)
    return {name: g * np.asarray(clip_norm / norm, g.dtype) for name, g in gradient.items()}


def initial_slots(optimizer: OptimizerSpec, weights: Tensors) -> dict[str, dict[str, Array]]:
    """Optimizer state before the first step: zeros, by slot and canonical name."""
    return {
        slot: {name: np.zeros_like(w) for name, w in weights.items()}
        for slot in slot_names(optimizer)
    }


def slot_names(optimizer: OptimizerSpec) -> tuple[str, ...]:
    """Slots of the optimizer's state.

    SGD with momentum has `velocity`; Adam has `first_moment` and `second_moment`.
    """
    if optimizer.name == "adam":
        return ("first_moment", "second_moment")
    return ("velocity",) if optimizer.momentum > 0 else ()


def update(
    optimizer: OptimizerSpec,
    *,
    weights: Tensors,
    slots: Mapping[str, Tensors],
    gradient: Tensors,
    step: int,
) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
    """Do one optimizer step (`step` counts from 1) and return the new weights and slots.

    `g` is the clipped gradient, `lr` the learning rate of this step, and
    `d = g + weight_decay * w` for kernels and biases alike:

    - SGD: `v = momentum * v + d`; `w = w - lr * v`; Nesterov: `w = w - lr * (d + momentum * v)`.
    - Adam: `m = beta_1 * m + (1 - beta_1) * d`; `s = beta_2 * s + (1 - beta_2) * d^2`;
      `w = w - lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(s) + epsilon)`, with `t = step`.
      This is the second form of Kingma and Ba (2015, end of section 2), which Keras uses. torch
      adds epsilon after the bias correction instead; for small gradients that is another rule.

    Examples
    --------
    >>> sgd = OptimizerSpec(learning_rate=0.5, momentum=0.9)
    >>> weights, slots = {"w": np.array([1.0])}, {"velocity": {"w": np.array([2.0])}}
    >>> gradient = {"w": np.array([0.2])}
    >>> update(sgd, weights=weights, slots=slots, gradient=gradient, step=1)
    ({'w': array([0.])}, {'velocity': {'w': array([2.])}})
    """
    rate = optimizer.rate_at(step)
    clipped = clip_by_global_norm(gradient, optimizer.clip_norm)
    new_weights: dict[str, Array] = {}
    new_slots: dict[str, dict[str, Array]] = {slot: {} for slot in slots}
    for name, w in weights.items():
        # A coefficient is rounded to the tensor's precision first, as a float32 framework does.
        def typed(number: float, like: Array = w) -> Array:
            return np.asarray(number, dtype=like.dtype)

        d = clipped[name]
        if optimizer.weight_decay:
            d = d + typed(optimizer.weight_decay) * w
        if optimizer.name == "adam":
            b1, b2 = optimizer.beta_1, optimizer.beta_2
            m = typed(b1) * slots["first_moment"][name] + typed(1 - b1) * d
            s = typed(b2) * slots["second_moment"][name] + typed(1 - b2) * d * d
            corrected = typed(rate * sqrt(1 - b2**step) / (1 - b1**step))
            change = corrected * m / (np.sqrt(s) + typed(optimizer.epsilon))
            new_slots["first_moment"][name], new_slots["second_moment"][name] = m, s
        elif optimizer.momentum:
            v = typed(optimizer.momentum) * slots["velocity"][name] + d
            direction = d + typed(optimizer.momentum) * v if optimizer.nesterov else v
            change = typed(rate) * direction
            new_slots["velocity"][name] = v
        else:
            change = typed(rate) * d
        # In place: the memory of one more large array would take longer than the arithmetic.
        new_weights[name] = np.subtract(w, change, out=change)
    return new_weights, new_slots
