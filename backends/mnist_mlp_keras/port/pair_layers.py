"""What a Keras layer does, in the terms that both frameworks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mnist_mlp.reference import Array
from mnist_mlp_keras.port.load import is_native, is_recurrent
from mnist_mlp_keras.port.pair_attention import as_dense, is_projection

_DIMENSIONS = ("1D", "2D", "3D")

KINDS = {
    "Dense": "dense",
    **{f"Conv{d}": "conv" for d in _DIMENSIONS},
    **{f"DepthwiseConv{d}": "conv" for d in _DIMENSIONS},
    **{f"Conv{d}Transpose": "conv_transpose" for d in _DIMENSIONS},
    "BatchNormalization": "batch_norm",
    "LayerNormalization": "layer_norm",
    "GroupNormalization": "group_norm",
    "Embedding": "embedding",
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "rnn",
    **{f"MaxPooling{d}": "max_pool" for d in _DIMENSIONS},
    **{f"AveragePooling{d}": "average_pool" for d in _DIMENSIONS},
    **{f"GlobalAveragePooling{d}": "adaptive_average_pool" for d in _DIMENSIONS},
    **{f"GlobalMaxPooling{d}": "adaptive_max_pool" for d in _DIMENSIONS},
    **{f"UpSampling{d}": "upsample" for d in _DIMENSIONS},
    "Dropout": "dropout",
    "AlphaDropout": "alpha_dropout",
    "GaussianNoise": "gaussian_noise",
    "GaussianDropout": "gaussian_dropout",
    **{f"SpatialDropout{d}": "spatial_dropout" for d in _DIMENSIONS},
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "PReLU": "prelu",
    "Softmax": "softmax",
}
"""Kinds of work by name of the class."""

WITH_WEIGHTS = ("dense", "conv", "conv_transpose", "batch_norm", "layer_norm", "group_norm",
                "embedding", "lstm", "gru", "rnn", "prelu")  # fmt: skip

_ROLES = {
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
    "kernel": "kernel",
    "bias": "bias",
    "embeddings": "kernel",
    "alpha": "alpha",
}

_ACTIVATIONS = {"swish": "silu", "hard_swish": "hard_silu"}

LOSSES = {
    "sparse_categorical_crossentropy": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
    "mean_squared_error": "mse_loss",
    "mse": "mse_loss",
    "mean_absolute_error": "l1_loss",
    "mae": "l1_loss",
    "huber": "huber_loss",
    "huber_loss": "huber_loss",
    "kl_divergence": "kl_div",
    "poisson": "poisson_nll_loss",
}
"""Kinds of losses by name."""


def kind_of(layer: Any) -> str:
    """What a layer does; its class's name if it is not known."""
    name = type(layer).__name__
    if not is_native(layer):
        return name
    if is_projection(layer):
        return "dense"
    if name == "Activation":
        return activation_name(layer.activation)
    if name == "ReLU":
        if getattr(layer, "max_value", None) is not None or getattr(layer, "threshold", False):
            return "relu6" if layer.max_value == 6 else name
        return "leaky_relu" if layer.negative_slope else "relu"
    return KINDS.get(name, name)


def shown_kind(layer: Any) -> str:
    """What a reader is told that a layer is: `Conv2D`, or `tanh` of an `Activation("tanh")`."""
    name = type(layer).__name__
    return activation_name(layer.activation) if kind_of(layer) != name == "Activation" else name


def is_known(kind: str) -> bool:
    """Whether a kind is one of both frameworks', and not the name of a class."""
    return kind in (*KINDS.values(), "attention") or kind[:1].islower()


def activation_name(function: Any) -> str:
    """By its name in both frameworks; `linear` for none."""
    if function is None:
        return "linear"
    name = str(getattr(function, "__name__", type(function).__name__))
    return _ACTIVATIONS.get(name, name)


def activation_settings(name: str) -> dict[str, Any]:
    """Those that a function has when it is given by its name."""
    defaults: Mapping[str, dict[str, Any]] = {
        "leaky_relu": {"slope": 0.2},
        "elu": {"alpha": 1.0},
        "gelu": {"approximate": False},
    }
    return dict(defaults.get(name, {}))


def settings_of(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    """Settings by the names that both frameworks share; `shape` is that of its input."""
    match kind_of(layer):
        case "conv":
            return _conv_settings(layer, shape)
        case "conv_transpose":
            return _transposed_settings(layer, shape)
        case "batch_norm":
            return {
                "epsilon": float(layer.epsilon),
                "momentum": float(layer.momentum),
                "training": bool(layer.trainable),
            }
        case "layer_norm" | "group_norm":
            groups = {"groups": int(layer.groups)} if hasattr(layer, "groups") else {}
            return {"epsilon": float(layer.epsilon), **groups}
        case "embedding":
            return {"padding_index": None, "max_norm": None, "by_frequency": False}
        case "max_pool" | "average_pool" | "upsample" as kind:
            made = _upsampling_settings if kind == "upsample" else _pool_settings
            return made(layer, shape)
        case "gaussian_noise":
            return {"stddev": float(layer.stddev)}
        case "dropout" | "spatial_dropout" | "alpha_dropout" | "gaussian_dropout":
            return {"rate": float(layer.rate)}
        case "ZeroPadding1D" | "ZeroPadding2D" | "ZeroPadding3D":
            pads = layer.padding
            return {"pads": tuple(map(tuple, pads)) if len(shape) > 3 else (tuple(pads),)}
        case "leaky_relu" if hasattr(layer, "negative_slope"):
            return {"slope": float(layer.negative_slope)}
        case "elu" if hasattr(layer, "alpha"):
            return {"alpha": float(layer.alpha)}
        case name:
            return activation_settings(name)


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),) * rank


def is_channels_first(layer: Any) -> bool:
    """Whether its channels are the first axis of a row; of most layers, they are the last."""
    return getattr(layer, "data_format", None) == "channels_first"


def _spatial(layer: Any, shape: Sequence[int]) -> Sequence[int]:
    return shape[2:] if is_channels_first(layer) else shape[1:-1]


def _pads(
    padding: str,
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """What `same` and `causal` add before and after each axis."""
    found = []
    for n, k, s, d in zip(sizes, window, stride, dilation, strict=True):
        reach = d * (k - 1) + 1
        total = max((-(-n // s) - 1) * s + reach - n, 0) if padding == "same" else 0
        found.append((reach - 1, 0) if padding == "causal" else (total // 2, total - total // 2))
    return tuple(found)


def _conv_settings(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    window, stride = tuple(layer.kernel_size), _tuple(layer.strides, layer.rank)
    dilation = _tuple(layer.dilation_rate, layer.rank)
    channels = shape[1] if is_channels_first(layer) else shape[-1]
    return {
        "window": window,
        "stride": stride,
        "dilation": dilation,
        "groups": int(channels) if _depthwise(layer) else int(layer.groups),
        "pads": _pads(layer.padding, _spatial(layer, shape), window, stride, dilation),
    }


def _transposed_settings(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    stride = _tuple(layer.strides, layer.rank)
    dilation = _tuple(layer.dilation_rate, layer.rank)
    crops = []
    made = _spatial(layer, layer.compute_output_shape(tuple(shape)))
    for n, o, k, s, d in zip(
        _spatial(layer, shape), made, layer.kernel_size, stride, dilation, strict=True
    ):
        total = (n - 1) * s + d * (k - 1) + 1 - o
        before = max(total, 0) // 2 if layer.padding == "same" else 0
        crops.append((before, total - before))
    return {"stride": stride, "dilation": dilation, "groups": 1, "crops": tuple(crops)}


def _pool_settings(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    sizes = _spatial(layer, shape)
    window = _tuple(layer.pool_size, len(sizes))
    stride = window if layer.strides is None else _tuple(layer.strides, len(sizes))
    settings: dict[str, Any] = {
        "window": window,
        "stride": stride,
        "pads": _pads(layer.padding, sizes, window, stride, (1,) * len(sizes)),
    }
    if kind_of(layer) == "average_pool":
        settings["count_padding"] = False
    return settings


def _upsampling_settings(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    mode = getattr(layer, "interpolation", "nearest")
    return {
        "factor": tuple(map(float, _tuple(layer.size, len(shape) - 2))),
        "mode": {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode),
        "corners": False,
    }


def _depthwise(layer: Any) -> bool:
    return type(layer).__name__.startswith("Depthwise")


# --- Tensors --------------------------------------------------------------------------------------


def tensors_of(layer: Any) -> dict[str, Any]:
    """The variables of a layer with weights, by role."""
    if kind_of(layer) not in WITH_WEIGHTS:
        return {}
    if is_recurrent(layer):
        return _of_cell(layer.cell)
    # What Dense and Embedding show under the public name may be made of the variable.
    found = {
        role: getattr(layer, f"_{name}", getattr(layer, name, None))
        for name, role in _ROLES.items()
        if hasattr(layer, name)
    }
    return {role: v for role, v in found.items() if isinstance(v, keras.Variable)}


def _of_cell(cell: Any) -> dict[str, Any]:
    """A GRU may have both biases in one variable."""
    found = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel}
    if cell.use_bias:
        found["bias"] = cell.bias
        if len(cell.bias.shape) > 1:
            found["recurrent_bias"] = cell.bias
    return found


def recurrent_tensors(layer: Any) -> dict[str, Any]:
    """The tensors of a recurrent layer in canonical layout; their gradients go through."""
    found = {role: variable.value for role, variable in _of_cell(layer.cell).items()}
    if "recurrent_bias" in found:
        found["bias"], found["recurrent_bias"] = found["bias"][0], found["bias"][1]
    return found


def to_canonical(layer: Any, role: str, value: Array) -> Array:
    """Kernels of a depthwise convolution as those of one in groups, each bias of a GRU for itself,
    a projection's features in one axis, slopes without axes of length 1; all else as it is."""
    if role == "weight":  # of no layer
        return value.squeeze()
    if is_recurrent(layer) and value.ndim > 1 and role in ("bias", "recurrent_bias"):
        return np.asarray(value[int(role == "recurrent_bias")])
    if is_projection(layer):
        return as_dense(layer, role, value)
    if role == "alpha":  # without the axes that share a slope, but for the last
        return value.reshape(*(n for n in value.shape[:-1] if n != 1), value.shape[-1])
    if role == "kernel" and _depthwise(layer):
        return value.reshape(*value.shape[:-2], 1, value.shape[-2] * value.shape[-1])
    return value


def from_canonical(layer: Any, role: str, value: Array, into: Array) -> Array:
    """Back; what a variable holds beside is taken from `into`."""
    if role == "weight":
        return value.reshape(into.shape)
    if value.ndim < into.ndim and is_recurrent(layer):
        made = into.copy()
        made[int(role == "recurrent_bias")] = value
        return made
    if is_projection(layer) or role == "alpha":
        return value.reshape(into.shape)
    if role == "kernel" and _depthwise(layer):
        return value.reshape(tensors_of(layer)["kernel"].shape)
    return value


def penalties_of(layer: Any) -> dict[str, float]:
    """The factor of `sum(w**2)` in the loss, by role."""
    found = {}
    for role in ("kernel", "bias", "gamma", "beta", "recurrent_kernel"):
        name = "recurrent" if role == "recurrent_kernel" else role
        regularizer = getattr(layer, f"{name}_regularizer", None)
        kinds = keras.regularizers.L2, keras.regularizers.L1L2
        if isinstance(regularizer, kinds) and not getattr(regularizer, "l1", 0):
            found[role] = float(np.asarray(regularizer.l2))
    return found


def loss_settings(
    kind: str, loss: Any, arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Of a loss object, or of a name, which has the defaults; `arguments` are those of a function,
    whose results the user's code reduces itself."""
    settings: dict[str, Any] = {} if arguments else {"reduction": "mean"}
    kwargs = {**getattr(loss, "_fn_kwargs", {}), **(arguments or {})}
    if kind == "cross_entropy":
        settings["smoothing"] = 0.0
    if kind in ("cross_entropy", "binary_cross_entropy"):
        settings["logits"] = bool(kwargs.get("from_logits", False))
    if kind == "huber_loss":
        settings["delta"] = 1.0
    if getattr(loss, "reduction", None) == "sum":
        settings["reduction"] = "sum"
    for theirs, ours in (("label_smoothing", "smoothing"), ("delta", "delta")):
        if isinstance(kwargs.get(theirs), int | float):
            settings[ours] = float(kwargs[theirs])
    return settings
