"""Code that does the original's work in the port's framework, with the original's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnist_mlp.parity.pair.segments import family

FUNCTIONS = {
    "torch": {
        "hard_sigmoid": "hardsigmoid", "hard_silu": "hardswish", "log_sigmoid": "logsigmoid",
    },
    "keras": {"hardtanh": "hard_tanh"},
}  # fmt: skip
"""What a framework calls an activation, where that is another name."""


def code_of(framework: str, kind: str, settings: Mapping[str, Any]) -> str:
    """A call, as a user would write it; empty where that takes more than one line."""
    if kind == "dropout":
        layers = "nn" if framework == "torch" else "keras.layers"
        return f"{layers}.Dropout({settings['rate']:.6g})"
    if kind == "alpha_dropout":
        layers = "nn" if framework == "torch" else "keras.layers"
        return f"{layers}.AlphaDropout({settings['rate']:.6g})"
    if family(kind) != "activation":
        return ""
    name = FUNCTIONS[framework].get(kind, kind)
    if framework == "torch":
        return f"F.{name}(x{_arguments_of_torch(kind, settings)})"
    return f"keras.activations.{name}(x{_arguments_of_keras(kind, settings)})"


def _arguments_of_torch(kind: str, settings: Mapping[str, Any]) -> str:
    match kind:
        case "softmax" | "log_softmax":
            return ", dim=-1"
        case "leaky_relu":
            return f", {settings.get('slope', 0.01):.6g}"
        case "elu" | "celu":
            return f", {settings.get('alpha', 1.0):.6g}"
        case "gelu":
            return f', approximate="{"tanh" if settings.get("approximate") else "none"}"'
    return ""


def _arguments_of_keras(kind: str, settings: Mapping[str, Any]) -> str:
    match kind:
        case "leaky_relu":
            return f", negative_slope={settings.get('slope', 0.2):.6g}"
        case "elu" | "celu":
            return f", alpha={settings.get('alpha', 1.0):.6g}"
        case "gelu":
            return f", approximate={bool(settings.get('approximate'))}"
    return ""
