"""Specifications in float64: the same limits, in units 2^29 times smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import wrong_losses as wrong
from numpy_side import NumpySide, sgd
from small_problems import look_at, only_break, spec_of, told

OPTIMIZERS: list[dict[str, Any]] = [
    {},
    {"momentum": 0.9, "nesterov": True},
    {"name": "adam", "learning_rate": 0.003},
    {"clip_norm": 0.3},
]

SPEC = spec_of(precision="float64")


@pytest.mark.parametrize("options", OPTIMIZERS)
@pytest.mark.parametrize("hidden", ["sigmoid", "relu", "gelu", "elu"])
def test_honest_steps_are_clean(hidden: str, options: dict[str, Any]) -> None:
    """The reference is float64 itself, so this side has to add up in another order."""

    def in_parts(tensor: Any) -> Any:
        return np.asfortranarray(tensor)

    spec = spec_of(hidden, precision="float64", **options)
    seen = look_at(NumpySide(spec, operand=in_parts), spec)
    assert seen.breaks == ()
    assert max(seen.margins.values()) < 1


def test_float64_states_and_records() -> None:
    found = only_break(SPEC, hidden=["tanh", "tanh"])
    assert found.got != found.expected
    assert told(found) == ("other_activation", "forward", 1, 0, "activation")


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"pixels": lambda images: images * (1 / 255)}, None),
        ({"pixels": lambda images: (images / np.float32(255)).astype(np.float32)}, "data"),
        ({"loss": wrong.sum_of(wrong.cross_entropy)}, "loss_sum"),
        ({"update": sgd(lambda n, w, g, s: g, factor=1 + 1e-5)}, "learning_rate"),
        ({"update": sgd(lambda n, w, g, s: g + 1e-9 * w)}, "weight_decay"),
        ({"gradient": lambda g, s: {n: t.astype(np.float32) for n, t in g.items()}}, "gradient"),
    ],
)
def test_faults(links: dict[str, Any], expected: str | None) -> None:
    """Arithmetic that passes through float32 is beyond every limit here."""
    found = look_at(NumpySide(SPEC, **links), SPEC).breaks
    if expected is None:
        assert found == ()
    elif expected in ("data", "gradient"):
        assert (found[0].rung, found[0].step) == (expected, 1)
        assert found[0].cause.name == "unknown"
    else:
        assert [item.cause.name for item in found] == [expected]
        assert found[0].step == 1


def test_layers_that_compute_in_float32() -> None:
    single = {
        "operand": lambda tensor: tensor.astype(np.float32),
        "linear": lambda z, layer: z.astype(np.float32),
        "between": lambda a, layer: a.astype(np.float32),
    }
    found = look_at(NumpySide(SPEC, **single), SPEC).breaks
    assert told(found[0]) == ("float32_arithmetic", "forward", 1, 0, "pre_activation")


def test_a_millionth_of_the_learning_rate() -> None:
    """Six digits are printed where they tell the difference, nine where they do not."""
    found = only_break(SPEC, update=sgd(lambda n, w, g, s: g, factor=1 + 1e-8))
    assert told(found) == ("learning_rate", "update", 1, 0, "kernel")
    assert found.cause.value == "0.100000001 instead of 0.1"
