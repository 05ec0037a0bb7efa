"""What a call of a torch function does, in the terms that both frameworks share.

Modules call the functions of `torch.nn.functional`, as users do by hand, so that a call of a
function is what is observed: `nn.Conv2d` and `F.conv2d` are then one thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from mnist_mlp.reference import Array
from mnist_mlp_torch.port import pair_gates

# Functions that are written in C++ have no signature: their parameters with their defaults.
_CONV = {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0, "dilation": 1,
         "groups": 1}  # fmt: skip
_CONV_TRANSPOSE = {"input": None, "weight": None, "bias": None, "stride": 1, "padding": 0,
                   "output_padding": 0, "groups": 1, "dilation": 1}  # fmt: skip
_MAX_POOL = {"input": None, "kernel_size": None, "stride": None, "padding": 0, "dilation": 1,
             "ceil_mode": False, "return_indices": False}  # fmt: skip
_AVERAGE_POOL = {"input": None, "kernel_size": None, "stride": None, "padding": 0,
                 "ceil_mode": False, "count_include_pad": True,
                 "divisor_override": None}  # fmt: skip
_ADAPTIVE_MAX_POOL = {"input": None, "output_size": None, "return_indices": False}
_ONE = {"input": None}

PARAMETERS: dict[str, Mapping[str, Any]] = {
    "linear": {"input": None, "weight": None, "bias": None},
    **{f"conv{d}d": _CONV for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _CONV_TRANSPOSE for d in (1, 2, 3)},
    **{f"max_pool{d}d": _MAX_POOL for d in (1, 2, 3)},
    **{f"avg_pool{d}d": _AVERAGE_POOL for d in (1, 2, 3)},
    # Its signature names no arguments: it is made of two functions.
    **{f"adaptive_max_pool{d}d": _ADAPTIVE_MAX_POOL for d in (1, 2, 3)},
    "gelu": {"input": None, "approximate": "none"},
    "softplus": {"input": None, "beta": 1, "threshold": 20},
    "logsigmoid": _ONE,
    "prelu": {"input": None, "weight": None},
}

KINDS = {
    "linear": "dense",
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "conv"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "conv_transpose"),
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "instance_norm": "group_norm",
    "embedding": "embedding",
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), "max_pool"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "average_pool"),
    **{f"adaptive_avg_pool{d}d": "adaptive_average_pool" for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d": "adaptive_max_pool" for d in (1, 2, 3)},
    "scaled_dot_product_attention": "attention",
    "pad": "pad",
    "interpolate": "upsample",
    "dropout": "dropout",
    **dict.fromkeys(("dropout1d", "dropout2d", "dropout3d"), "spatial_dropout"),
    "alpha_dropout": "alpha_dropout",
    **{name: name for name in (
        "relu", "relu6", "elu", "selu", "gelu", "silu", "leaky_relu", "sigmoid", "tanh", "softmax",
        "log_softmax", "softplus", "softsign", "hardtanh", "celu", "mish",
    )},
    "prelu": "prelu",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_silu",
    "logsigmoid": "log_sigmoid",
    **{name: name for name in (
        "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
        "mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div", "poisson_nll_loss",
    )},
}  # fmt: skip
"""Kinds of work by name of the function."""

NOISE = ("gaussian_noise", "gaussian_dropout")
"""Work that no function of torch does, but a user by hand (`pair_noise`)."""

RECURRENT = {
    **{name: name for name in ("lstm", "gru")},
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "rnn_tanh_cell", "rnn_relu_cell"), "rnn"),
    "lstm_cell": "lstm",
    "gru_cell": "gru",
}
"""Kinds of work by name of the function, in `torch`."""

LOSSES = frozenset(
    name for name in KINDS if name.endswith("_loss") or "cross_entropy" in name or name == "kl_div"
)

WITH_WEIGHTS = ("dense", "conv", "conv_transpose", "batch_norm", "layer_norm", "group_norm",
                "embedding", "lstm", "gru", "rnn", "prelu")  # fmt: skip

EMBEDDING = {
    "padding_index": "padding_idx",
    "max_norm": "max_norm",
    "by_frequency": "scale_grad_by_freq",
}
"""Settings of an embedding that Keras has not."""

MODES = {
    "nearest": "nearest",
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    "bicubic": "cubic",
}
"""Ways of upsampling; each number of axes has a name of its own in torch."""

_ELSEWHERE = ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "celu", "selu")
"""Functions that are also there as `torch.relu`, `x.relu()` and `x.relu_()`."""

FUNCTIONS: dict[Any, str] = {getattr(F, name): name for name in KINDS} | {
    function: name
    for name in _ELSEWHERE
    for owner in (F, torch, Tensor)
    for spelling in (name, f"{name}_")
    if callable(function := getattr(owner, spelling, None))
}
"""Names by function."""


@dataclass(frozen=True)
class Call:
    """A call with its arguments by name."""

    name: str
    arguments: Mapping[str, Any]
    label: str = ""
    """What it is told as, if that is not its name."""

    @property
    def kind(self) -> str:
        """What it does."""
        if self.name in NOISE:
            return self.name
        return RECURRENT[self.name] if self.name in RECURRENT else KINDS[self.name]

    @property
    def input(self) -> Tensor:
        """What goes through."""
        found: Tensor = self.arguments["input"]
        return found


def call_of(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
    """The call, if the function does a layer's work."""
    name = FUNCTIONS.get(function)
    if name is None:
        return None
    known = PARAMETERS.get(name)
    if known is None:
        try:
            bound = inspect.signature(getattr(F, name)).bind(*args, **kwargs)
        except (TypeError, ValueError):  # a method, or in C++: only its input is known
            return Call(name, {"input": args[0], **kwargs}) if args else None
        bound.apply_defaults()
        return Call(name, dict(bound.arguments))
    return Call(name, {**known, **dict(zip(known, args, strict=False)), **kwargs})


# --- Settings -------------------------------------------------------------------------------------


def settings_of(call: Call) -> dict[str, Any]:
    """Settings by the names that both frameworks share."""
    if call.name in RECURRENT:
        return recurrent_settings(call)
    if call.kind == "attention":
        return dict(call.arguments["settings"])
    return _loss_settings(call.arguments) if call.kind in LOSSES else _settings_of_layer(call)


def _settings_of_layer(call: Call) -> dict[str, Any]:
    given = call.arguments
    match call.kind:
        case "conv" | "conv_transpose" | "upsample":
            of_kind: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
                "conv": _conv_settings,
                "conv_transpose": _transposed_settings,
                "upsample": _upsampling_settings,
            }
            return of_kind[call.kind](given)
        case "batch_norm":
            momentum = given.get("momentum")
            settings = {"epsilon": float(given["eps"]), "training": bool(given["training"])}
            # `track_running_stats=False` keeps none.
            if given.get("running_mean") is not None and momentum is not None:
                settings["momentum"] = 1.0 - float(momentum)
            return settings
        case "embedding":
            return {ours: given.get(theirs) for ours, theirs in EMBEDDING.items()}
        case "layer_norm" | "group_norm":
            return {"epsilon": float(given["eps"]), **_groups(call)}
        case "max_pool" | "average_pool":
            return _pool_settings(call)
        case "dropout" | "spatial_dropout" | "alpha_dropout":
            return {"rate": float(given["p"]) if given["training"] else 0.0}
        case "pad":
            amounts = list(given["pad"])
            pairs = zip(amounts[::2], amounts[1::2], strict=True)
            return {"pads": tuple(pairs)[::-1]}
        case "leaky_relu":
            return {"slope": float(given.get("negative_slope", 0.01))}
        case "elu" | "celu":
            return {"alpha": float(given.get("alpha", 1.0))}
        case "gelu":
            return {"approximate": given["approximate"] == "tanh"}
        case "softmax" | "log_softmax" if given.get("dim") is not None:
            rank = call.input.dim()
            return {"axis": int(given["dim"]) % rank, "axes": rank}
    return {}


def _groups(call: Call) -> dict[str, int]:
    if call.name == "instance_norm":  # each map is a group of its own
        return {"groups": int(call.input.shape[1])}
    given = call.arguments
    return {"groups": int(given["num_groups"])} if "num_groups" in given else {}


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),) * rank


def _conv_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    weight = given["weight"]
    window = tuple(weight.shape[2:])
    rank = len(window)
    dilation = _tuple(given["dilation"], rank)
    padding = given["padding"]
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, window, strict=True)]
        pads = tuple((total // 2, total - total // 2) for total in totals)
    else:
        pads = tuple((p, p) for p in _tuple(padding, rank))
    return {
        "window": window,
        "stride": _tuple(given["stride"], rank),
        "dilation": dilation,
        "groups": int(given["groups"]),
        "pads": pads,
    }


def _transposed_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    rank = given["weight"].dim() - 2
    before, more = (_tuple(given[name], rank) for name in ("padding", "output_padding"))
    return {
        "stride": _tuple(given["stride"], rank),
        "dilation": _tuple(given["dilation"], rank),
        "groups": int(given["groups"]),
        "crops": tuple((b, b - m) for b, m in zip(before, more, strict=True)),
    }


def _pool_settings(call: Call) -> dict[str, Any]:
    given = call.arguments
    rank = int(call.name[-2])
    size = _tuple(given["kernel_size"], rank)
    stride = size if given["stride"] in (None, [], ()) else _tuple(given["stride"], rank)
    before = _tuple(given["padding"], rank)
    pads = []
    for n, k, s, p in zip(call.input.shape[-rank:], size, stride, before, strict=True):
        # `ceil_mode` lets a window hang over the end, as if there were more padding.
        over = (-(n + 2 * p - k)) % s if given["ceil_mode"] else 0
        if over and (n + 2 * p - k + over) // s * s >= n + p:
            over = 0  # a window that would begin behind the end is left out
        pads.append((p, p + over))
    settings: dict[str, Any] = {"window": size, "stride": stride, "pads": tuple(pads)}
    if call.kind == "average_pool":
        settings["count_padding"] = bool(given["count_include_pad"]) and any(before)
    return settings


def _upsampling_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    sizes = given["input"].shape[2:]
    if given["size"] is None:
        factor = tuple(float(f) for f in _factors(given["scale_factor"], len(sizes)))
    else:
        factor = tuple(m / n for m, n in zip(_tuple(given["size"], len(sizes)), sizes, strict=True))
    mode = given["mode"]
    return {
        "factor": factor,
        "mode": MODES.get(mode, mode),
        "corners": bool(given["align_corners"]),
    }


def _factors(value: Any, rank: int) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * rank


def recurrent_settings(call: Call) -> dict[str, Any]:
    """Of one direction of one layer."""
    settings: dict[str, Any] = {
        "activation": "relu" if "relu" in call.name else "tanh",
        "backwards": call.arguments.get("backwards", False),
        "masked": call.arguments.get("masked", False),
        "state": "given" if any(bool(s.any()) for s in call.arguments["begin"]) else "zeros",
    }
    if call.kind != "rnn":
        settings["recurrent_activation"] = "sigmoid"
    if call.kind == "gru":
        settings["reset_after"] = True
    return settings


def _loss_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"reduction": given.get("reduction", "mean")}
    for theirs, ours in (("label_smoothing", "smoothing"), ("delta", "delta"), ("beta", "beta")):
        if isinstance(given.get(theirs), int | float):
            settings[ours] = float(given[theirs])
    if given.get("weight") is not None:
        settings["weighted"] = True
    return settings


# --- Tensors --------------------------------------------------------------------------------------


def tensors_of(call: Call) -> dict[str, Tensor]:
    """The tensors of a layer with weights, by role."""
    given = call.arguments
    if call.kind in ("dense", "conv", "conv_transpose"):
        roles = {"kernel": "weight", "bias": "bias"}
    elif call.kind == "embedding":
        roles = {"kernel": "weight"}
    elif call.kind == "prelu":
        roles = {"alpha": "weight"}
    elif call.name in RECURRENT:
        roles = {"kernel": "weight_ih", "recurrent_kernel": "weight_hh", "bias": "bias_ih",
                 "recurrent_bias": "bias_hh"}  # fmt: skip
    else:
        roles = {"gamma": "weight", "beta": "bias", "mean": "running_mean",
                 "variance": "running_var"}  # fmt: skip
    found = {role: given.get(theirs) for role, theirs in roles.items()}
    return {role: tensor for role, tensor in found.items() if isinstance(tensor, Tensor)}


def to_canonical(kind: str, role: str, value: Array) -> Array:
    """Of torch's layout."""
    if kind in ("lstm", "gru", "rnn"):
        made: Array = pair_gates.canonical(kind, role, value)
        return made
    if role == "weight":  # of no layer
        return value.squeeze()
    if role != "kernel" or kind == "embedding":
        return value
    return np.moveaxis(value, (0, 1), (-1, -2))


def from_canonical(kind: str, role: str, value: Array) -> Array:
    """Into torch's layout."""
    if kind in ("lstm", "gru", "rnn"):
        return pair_gates.from_canonical(kind, role, value)
    if role != "kernel" or kind == "embedding":
        return value
    return np.moveaxis(value, (-1, -2), (0, 1))


# --- Doing it otherwise ---------------------------------------------------------------------------


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`x` with so much of a value before and after it, in each of its last axes."""
    if not any(map(any, pads)):
        return x
    return F.pad(x, [n for pair in reversed(pads) for n in pair], value=value)


def pool(kind: str, x: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Pooling by shared settings."""
    size, stride = settings["window"], settings["stride"]
    rank, pads = len(size), settings["pads"]
    if kind == "max_pool":
        most: Callable[..., Tensor] = getattr(F, f"max_pool{rank}d")
        return most(padded(x, pads, float("-inf")), size, stride)
    mean: Callable[..., Tensor] = getattr(F, f"avg_pool{rank}d")
    total = mean(padded(x, pads), size, stride)
    if settings.get("count_padding"):
        return total
    share = mean(padded(torch.ones_like(x), pads), size, stride)
    return total / share


def upsample(x: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Upsampling, nearest or linear, by shared settings."""
    mode = settings["mode"]
    if mode == "nearest":
        return F.interpolate(x, scale_factor=settings["factor"])
    name = ("linear", "bilinear", "trilinear")[x.dim() - 3]
    return F.interpolate(
        x, scale_factor=settings["factor"], mode=name, align_corners=settings["corners"]
    )


def activation(kind: str, x: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """An activation by shared name and settings."""
    match kind:
        case "linear":
            return x
        case "softmax" | "log_softmax":
            made: Tensor = getattr(F, kind)(x, dim=settings.get("axis", -1))
            return made
        case "leaky_relu":
            return F.leaky_relu(x, settings.get("slope", 0.3))
        case "elu":
            return F.elu(x, settings.get("alpha", 1.0))
        case "gelu":
            return F.gelu(x, approximate="tanh" if settings.get("approximate") else "none")
        case "hard_sigmoid":
            # torch's own has a float32 sixth in its gradient, in float64 too.
            return F.relu6(x + 3) / 6
        case "hard_silu":
            return F.hardswish(x)
        case "log_sigmoid":
            return F.logsigmoid(x)
    plain: Tensor = getattr(F, kind)(x)
    return plain
