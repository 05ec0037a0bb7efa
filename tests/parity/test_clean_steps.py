"""Honest steps in many settings: nothing breaks, and how near the limits they come is printed.

Honest means what frameworks do: sums in another order, a fused product, a slope from `a` instead of
`z`, a clip whose divisor is the norm plus 1e-6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy_side import Doubles, Hidden, NumpySide
from scipy.special import expit
from small_problems import look_at, problem, spec_of

from mnist_mlp.contract import State
from mnist_mlp.parity.causes.explain import explain
from mnist_mlp.parity.steps.judge import LIMITS
from mnist_mlp.reference import Array, global_norm
from mnist_mlp.reference import update as specified
from mnist_mlp.spec import ACTIVATIONS

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "hot": {"learning_rate": 0.5},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"momentum": 0.5, "weight_decay": 1e-3},
    "clip": {"clip_norm": 0.3},
    "schedule": {"momentum": 0.9, "schedule": [[6, 0.01], [20, 0.3]]},
    "adam": {"name": "adam", "learning_rate": 0.003},
    "adam, everything": {
        "name": "adam",
        "learning_rate": 0.01,
        "weight_decay": 1e-3,
        "clip_norm": 0.5,
        "schedule": [[9, 0.001]],
    },
}

LARGEST: dict[str, tuple[float, str]] = {}
"""Per rung the largest margin of this session, and where it was seen."""


def assert_clean(side: NumpySide, where: str) -> None:
    seen = look_at(side, side.spec)
    assert seen.breaks == (), where
    assert seen.noted == ()
    for rung, margin in seen.margins.items():
        assert margin < 1
        LARGEST[rung] = max(LARGEST.get(rung, (0.0, "")), (margin, where))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_optimizers(hidden: str, name: str) -> None:
    spec = spec_of(hidden, **OPTIMIZERS[name])
    assert_clean(NumpySide(spec), f"{hidden}, {name}")


@pytest.mark.parametrize("hidden", [*ACTIVATIONS, "leaky_relu(0.2)"])
def test_activations(hidden: str) -> None:
    spec = spec_of(hidden, seed=7, momentum=0.9)
    assert_clean(NumpySide(spec), hidden)


@pytest.mark.parametrize("seed", range(8))
def test_seeds(seed: int) -> None:
    spec = spec_of("gelu" if seed % 2 else "sigmoid", seed=seed, learning_rate=0.3)
    assert_clean(NumpySide(spec), f"seed {seed}")


@pytest.mark.parametrize(
    ("sizes", "batch_size"),
    [((), 32), ((300,), 32), ((12, 12, 12, 12), 32), ((20,), 1), ((8,), 309)],
)
def test_shapes(sizes: tuple[int, ...], batch_size: int) -> None:
    epochs = 1 if batch_size == 1 else 3
    spec = spec_of(sizes=sizes, batch_size=batch_size, epochs=epochs)
    assert_clean(NumpySide(spec), f"hidden layers {sizes}, batches of {batch_size}")


# --- Other honest ways ----------------------------------------------------------------------------


class Backwards(NumpySide):
    """Sums that run from the other end: rows and units in reverse order."""

    def step(self, state: State, images: Array, labels: Array) -> Any:
        record = super().step(state, images[::-1], labels[::-1])
        turned: Any = lambda arrays: tuple(array[::-1] for array in arrays)  # noqa: E731
        return type(record)(
            inputs=record.inputs[::-1],
            pre_activations=turned(record.pre_activations),
            activations=turned(record.activations),
            loss=record.loss,
            gradient=record.gradient,
            state=record.state,
        )


@pytest.mark.parametrize("hidden", ["sigmoid", "relu"])
def test_rows_in_reverse(hidden: str) -> None:
    assert_clean(Backwards(spec_of(hidden)), "rows in reverse")


def test_a_slope_from_the_activation() -> None:
    """Keras and torch take `a * (1 - a)`, and neither its argument's way."""
    other = Hidden(
        lambda z: (1 / (1 + np.exp(-z.astype(np.float32)))).astype(np.float32),
        lambda z: expit(z) * expit(-z),
    )
    spec = spec_of()
    assert_clean(NumpySide(spec, hidden=[other, other]), "sigmoid by its formula")


def test_a_fused_product() -> None:
    """As with one rounding at the end of each sum."""
    spec = spec_of("relu")
    exact = NumpySide(spec, operand=lambda tensor: tensor.astype(np.float64))
    assert_clean(exact, "products in float64")


def test_torch_s_clip_divides_by_a_little_more() -> None:
    spec = spec_of(clip_norm=0.3)

    def update(state: State, gradient: Doubles, side: NumpySide) -> Any:
        factor = np.float32(min(1.0, 0.3 / (global_norm(gradient) + 1e-6)))
        return specified(
            spec.optimizer.model_copy(update={"clip_norm": 0.0}),
            weights=state.weights,
            slots=state.slots,
            gradient={name: g * factor for name, g in gradient.items()},
            step=state.step + 1,
        )

    assert_clean(NumpySide(spec, update=update), "clip with 1e-6")


def test_a_constant_step_is_rounded_alike_everywhere() -> None:
    """Weights that all move by the same amount: their roundings are not independent draws."""
    spec = spec_of(sizes=(40,))
    side = NumpySide(spec, gradient=lambda g, _: {n: np.sign(t) / 100 for n, t in g.items()})
    given = problem(spec)
    recipe = replace(given.recipe, muted=frozenset({"gradient"}))
    seen = explain(recipe, given.steps(side), side="a")
    assert seen.breaks == ()


def test_zz_largest_margins() -> None:
    """Last of this file (`pytest -s` shows it): the room that the limits leave."""
    if not LARGEST:
        pytest.skip("nothing was measured")
    print("\nlargest margins of honest steps, as shares of the limit:")
    for rung, (margin, where) in LARGEST.items():
        print(f"  {rung:<9}{margin:6.2f} of {LIMITS[rung]:g}  ({where})")
    assert all(margin < 1 for margin, _ in LARGEST.values())
