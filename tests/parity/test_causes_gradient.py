"""Gradients that are not the derivative of the side's own loss: named where they first show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy_side import Doubles, NumpySide
from small_problems import look_at, only_break, problem, spec_of, told

SPEC = spec_of()
Change = Callable[[Doubles, NumpySide], Doubles]


def each(change: Callable[[str, Any], Any]) -> Change:
    """The same change for every tensor."""
    return lambda gradient, side: {name: change(name, g) for name, g in gradient.items()}


def norm_of(*tensors: Any) -> float:
    return float(np.sqrt(sum(float((t.astype(np.float64) ** 2).sum()) for t in tensors)))


def not_cleared(gradient: Doubles, side: NumpySide) -> Doubles:
    """`zero_grad` is never called."""
    kept = side.memory.setdefault("gradient", dict.fromkeys(gradient, 0))
    for name, g in gradient.items():
        kept[name] = kept[name] + g
    return dict(kept)


def one_step_late(gradient: Doubles, side: NumpySide) -> Doubles:
    old = side.memory.get("gradient", {name: np.zeros_like(g) for name, g in gradient.items()})
    side.memory["gradient"] = gradient
    return old


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"name": "adam"}, {"clip_norm": 0.3}])
def test_gradients_that_add_up_show_at_step_2(options: dict[str, Any]) -> None:
    found = only_break(spec_of(**options), gradient=not_cleared)
    assert told(found) == ("gradients_not_cleared", "gradient", 2, 2, "kernel")


def test_the_gradient_of_the_step_before() -> None:
    found = only_break(SPEC, gradient=one_step_late)
    assert told(found) == ("stale_gradient", "gradient", 1, 2, "kernel")


@pytest.mark.parametrize(
    ("frozen", "layer", "tensor"),
    [("layers.0.kernel", 0, "kernel"), ("layers.2.bias", 2, "bias"), ("layers.1", 1, "kernel")],
)
def test_frozen_tensors(frozen: str, layer: int, tensor: str) -> None:
    found = only_break(SPEC, gradient=each(lambda name, g: g * (not name.startswith(frozen))))
    assert told(found) == ("frozen_tensor", "gradient", 1, layer, tensor)
    names = [name for name in problem(SPEC).plan.initial_weights if name.startswith(frozen)]
    assert sorted((found.cause.value or "").split(", ")) == sorted(names)


def clipped_together(limit: float) -> Change:
    def change(gradient: Doubles, side: NumpySide) -> Doubles:
        factor = np.float32(min(1.0, limit / norm_of(*gradient.values())))
        return {name: g * factor for name, g in gradient.items()}

    return change


CUTS: dict[str, tuple[Change, str, str]] = {
    "by value": (each(lambda name, g: np.clip(g, -0.05, 0.05)), "clip_by_value", "0.05"),
    "each tensor": (
        each(lambda name, g: g * np.float32(min(1, 0.2 / norm_of(g)))),
        "clip_per_tensor",
        "0.2",
    ),
    "all together": (clipped_together(0.3), "clip_by_norm", "0.3"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_clip_inside_the_gradient(name: str) -> None:
    change, cause, value = CUTS[name]
    found = only_break(SPEC, gradient=change)
    assert (found.cause.name, found.rung, found.step) == (cause, "gradient", 1)
    assert found.cause.value == value


@pytest.mark.parametrize(
    ("part", "scope"), [("", "all tensors"), ("kernel", "kernels only"), ("bias", "biases only")]
)
def test_a_decay_that_the_loss_does_not_tell_of(part: str, scope: str) -> None:
    """`g + factor * w`, as a framework's regulariser leaves it when its loss is not reported."""

    def decayed(gradient: Doubles, side: NumpySide) -> Doubles:
        weights = side.state.weights
        return {
            name: g + np.float32(1e-3) * weights[name] * name.endswith(part)
            for name, g in gradient.items()
        }

    found = only_break(SPEC, gradient=decayed)
    assert (found.cause.name, found.rung) == ("weight_decay", "gradient")
    assert found.step == (2 if part == "bias" else 1)
    assert found.cause.value == f"0.001 * w added to the gradient, {scope}"


def summed(gradient: Doubles, side: NumpySide) -> Doubles:
    """The loss is reported as a mean, the gradient is that of the sum."""
    rows = len(side.memory["labels"])
    return {name: g * np.float32(rows) for name, g in gradient.items()}


class Counting(NumpySide):
    """Keeps the batch where a link can see it."""

    def step(self, state: Any, images: Any, labels: Any) -> Any:
        self.memory["labels"] = labels
        return super().step(state, images, labels)


def test_the_gradient_of_the_sum() -> None:
    (found,) = look_at(Counting(SPEC, gradient=summed), SPEC).breaks
    assert told(found) == ("gradient_sum", "gradient", 1, 2, "kernel")


@pytest.mark.parametrize("factor", [0.5, 1.001, 2.0, 65536.0])
def test_a_gradient_scaled_by_a_constant(factor: float) -> None:
    found = only_break(SPEC, gradient=each(lambda name, g: g * np.float32(factor)))
    assert told(found) == ("gradient_scaled", "gradient", 1, 2, "kernel")
    assert found.cause.value == f"{factor:.6g} times"


# --- What has no hypothesis -----------------------------------------------------------------------


def averaged_with_the_last(gradient: Doubles, side: NumpySide) -> Doubles:
    old = side.memory.get("old", gradient)
    side.memory["old"] = gradient
    return {name: (g + old[name]) / 2 for name, g in gradient.items()}


def _without_unit(name: str, g: Any) -> Any:
    kept = g.copy()
    if name.startswith("layers.1"):
        kept[..., 3] = 0
    return kept


NAMELESS: dict[str, tuple[Change, int]] = {
    "noise": (each(lambda n, g: g + 1e-6 * np.sin(np.arange(g.size)).reshape(g.shape)), 1),
    "centred": (each(lambda n, g: g - g.mean(axis=0) if g.ndim == 2 else g), 1),
    "unit length": (each(lambda n, g: g / np.float32(norm_of(g))), 1),
    "half of one layer": (each(lambda n, g: g / 2 if n == "layers.0.kernel" else g), 1),
    "biases doubled": (each(lambda n, g: g * 2 if n.endswith("bias") else g), 1),
    "small ones dropped": (each(lambda n, g: g * (np.abs(g) > 1e-3)), 1),
    "signs": (each(lambda n, g: np.sign(g)), 1),
    "sixteen bits": (each(lambda n, g: g.astype(np.float16)), 1),
    "two steps' mean": (averaged_with_the_last, 2),
    "one unit left out": (each(_without_unit), 1),
    "transposed": (each(lambda n, g: g.reshape(g.shape[::-1]).T if g.ndim == 2 else g), 1),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_hypothesis_stays_unknown(name: str) -> None:
    change, step = NAMELESS[name]
    found = only_break(SPEC, gradient=change)
    assert (found.cause.name, found.rung, found.step) == ("unknown", "gradient", step)
