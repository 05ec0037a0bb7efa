"""Two faults at once: both are named, or the one without a hypothesis is unknown; never a third."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wrong_losses as wrong
from numpy_side import NumpySide, sgd
from small_problems import breaks_of, look_at, spec_of

SPEC = spec_of()
RAW: dict[str, Any] = {"pixels": lambda images: images / np.float32(256)}
SUMMED: dict[str, Any] = {"loss": wrong.sum_of(wrong.cross_entropy)}
SMOOTH: dict[str, Any] = {"loss": wrong.mean_of(wrong.smoothed(0.1))}
TANH: dict[str, Any] = {"hidden": ["tanh", "tanh"]}
FROZEN: dict[str, Any] = {
    "gradient": lambda g, side: {n: t * (n != "layers.0.bias") for n, t in g.items()}
}
FAST: dict[str, Any] = {"update": sgd(lambda n, w, g, side: g, factor=1.5)}
DECAY: dict[str, Any] = {"update": sgd(lambda n, w, g, side: g + side.dtype(1e-3) * w)}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (RAW | FAST, [("pixels_divided_by_256", "data"), ("learning_rate", "update")]),
        (RAW | TANH, [("pixels_divided_by_256", "data"), ("other_activation", "forward")]),
        (TANH | DECAY, [("other_activation", "forward"), ("weight_decay", "update")]),
        (TANH | SUMMED, [("other_activation", "forward"), ("loss_sum", "loss")]),
        (SUMMED | FAST, [("loss_sum", "loss"), ("learning_rate", "update")]),
        (SMOOTH | FROZEN, [("label_smoothing", "loss"), ("frozen_tensor", "gradient")]),
        (FROZEN | DECAY, [("frozen_tensor", "gradient"), ("weight_decay", "update")]),
        (
            RAW | TANH | SUMMED | FAST,
            [
                ("pixels_divided_by_256", "data"),
                ("other_activation", "forward"),
                ("loss_sum", "loss"),
                ("learning_rate", "update"),
            ],
        ),
    ],
)
def test_faults_of_two_rungs_are_both_named(
    links: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    found = breaks_of(SPEC, **links)
    assert [item[:2] for item in found] == expected
    assert {item[2] for item in found} == {1}


def noise(rung: str) -> dict[str, Any]:
    """A fault without a hypothesis on one rung."""

    def wavy(tensor: Any) -> Any:
        return 1e-4 * np.sin(np.arange(tensor.size)).reshape(tensor.shape)

    if rung == "forward":
        return {"between": lambda a, layer: a + wavy(a)}
    if rung == "gradient":
        return {"gradient": lambda g, side: {n: t + wavy(t) for n, t in g.items()}}
    return {"update": lambda state, g, side: {n: w + wavy(w) for n, w in state.weights.items()}}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (RAW | noise("gradient"), ["pixels_divided_by_256", "unknown"]),
        (noise("forward") | FAST, ["unknown", "learning_rate"]),
        (noise("gradient") | FAST, ["unknown", "learning_rate"]),
        (SUMMED | noise("update"), ["loss_sum", "unknown"]),
        (noise("forward") | noise("gradient") | noise("update"), ["unknown"] * 3),
    ],
)
def test_the_fault_without_a_name_does_not_hide_the_other(
    links: dict[str, Any], expected: list[str]
) -> None:
    assert [item[0] for item in breaks_of(SPEC, **links)] == expected


TOGETHER: dict[str, Callable[[], dict[str, Any]]] = {
    "rate and decay": lambda: {"update": sgd(lambda n, w, g, s: g + s.dtype(1e-3) * w, factor=1.5)},
    "rate and a frozen tensor": lambda: {
        "update": sgd(lambda n, w, g, s: g * (n != "layers.1.bias"), factor=1.5)
    },
    "two activations": lambda: {"hidden": ["tanh", "relu"]},
    "summed and smoothed": lambda: {"loss": wrong.sum_of(wrong.smoothed(0.1))},
    "scaled and turned": lambda: {
        "pixels": lambda images: (
            images.reshape(-1, 12, 12)[:, ::-1].reshape(len(images), -1) / np.float32(256)
        )
    },
    "frozen and scaled": lambda: {
        "gradient": lambda g, s: {n: 2 * t * (n != "layers.0.bias") for n, t in g.items()}
    },
}

RIGHT = {
    "rate and decay": {"learning_rate", "weight_decay"},
    "rate and a frozen tensor": {"learning_rate", "tensor_not_updated"},
    "two activations": {"other_activation"},
    "summed and smoothed": {"loss_sum", "label_smoothing"},
    "scaled and turned": {"image_upside_down", "pixels_divided_by_256"},
    "frozen and scaled": {"frozen_tensor", "gradient_scaled"},
}


@pytest.mark.parametrize("name", TOGETHER)
def test_two_faults_of_one_rung_get_no_wrong_name(name: str) -> None:
    """What they are, each by itself or together, or unknown."""
    found = {item.cause.name for item in look_at(NumpySide(SPEC, **TOGETHER[name]()), SPEC).breaks}
    assert found
    assert found <= RIGHT[name] | {"unknown"}
