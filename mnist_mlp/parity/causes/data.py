"""Why a network's inputs are not `pixel / 255`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.causes.hypothesis import Hypothesis, step_of
from mnist_mlp.parity.findings import UNKNOWN, Cause, Finding, JudgedStep
from mnist_mlp.parity.steps.arbiter import Expected, keep_bits
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.reference import Array

Move = Callable[[Array], Array]

MOVES: dict[str, tuple[str, Move]] = {
    "image_axes_swapped": ("rows and columns exchanged", lambda i: i.transpose(0, 2, 1)),
    "image_flipped": ("left and right exchanged", lambda i: i[:, :, ::-1]),
    "image_upside_down": ("top and bottom exchanged", lambda i: i[:, ::-1, :]),
    "image_rotated": ("turned by 90 degrees", lambda i: np.rot90(i, 1, (1, 2))),
    "image_rotated_back": ("turned by 270 degrees", lambda i: np.rot90(i, 3, (1, 2))),
    "image_turned": ("turned by 180 degrees", lambda i: i[:, ::-1, ::-1]),
}

SCALINGS = (
    *("pixels_not_scaled", "pixels_scaled_twice", "pixels_divided_by_256", "pixels_inverted"),
    *("pixels_scaled_to_minus_one_one", "mean_std_normalisation"),
)
"""Causes that `affine_cause` names."""


def hypotheses(
    recipe: Recipe, steps: Sequence[JudgedStep], finding: Finding
) -> Iterator[Hypothesis]:
    """Dropout, pixels in other places, another scale, two values only, or a coarser precision."""
    step = step_of(finding, steps)
    yield from _dropped(recipe, step)
    yield from _moved(recipe, step)
    yield from _affine(recipe, step)
    yield from _binarised(recipe)
    yield from _rounded(recipe, step)


def _dropped(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    """Dropout on the inputs. It is recognised by its zeros; its random draws can't be replayed."""
    exact = np.asarray(step.images, np.float64) / 255
    got = np.asarray(step.record.inputs, np.float64)
    if got.shape != exact.shape:
        return
    lit = exact > 0
    dropped, kept = lit & (got == 0), lit & (got != 0)
    # Dropout draws for each element. If whole rows or whole columns are 0, it is another fault.
    whole = any(not (dropped.any(axis=x) & kept.any(axis=x)).any() for x in (0, 1))
    if whole or not dropped.any() or got[~lit].any():
        return
    factor = got[kept] / exact[kept]
    if np.allclose(factor, factor[0], rtol=1e-4):
        # Kept elements are divided by 1 - rate, which gives the rate exactly. Dropout that does
        # not divide (factor 1) leaves only the share of zeros.
        exact_rate = 1 - 1 / float(factor[0])
        rate = exact_rate if exact_rate > 0 else dropped.sum() / lit.sum()
        muted = replace(recipe, muted=recipe.muted | {"data"})
        yield Hypothesis(Cause("dropout", f"rate {rate:.3g} on the inputs"), muted)


def _affine(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    x = np.asarray(step.images, np.float64).ravel() / 255
    got = np.asarray(step.record.inputs, np.float64)
    if got.shape != step.images.shape or not np.isfinite(got).all() or x.min() == x.max():
        return
    # Two values determine an affine map. The extremes give it most exactly; that it reproduces all
    # other values is tested like any hypothesis.
    low, high = int(x.argmin()), int(x.argmax())
    scale = (got.flat[high] - got.flat[low]) / (x[high] - x[low])
    offset = got.flat[low] - scale * x[low]
    if not scale:
        return

    def pixels(images: Array) -> Expected:
        x = np.asarray(images, np.float64) / 255
        # Factor 4: the two coefficients were computed from rounded inputs, and add their errors.
        terms = 4 * (np.abs(scale * x) + abs(offset) + abs(scale))
        return Expected(scale * x + offset, terms)

    yield Hypothesis(affine_cause(float(scale), float(offset)), replace(recipe, pixels=pixels))


def affine_cause(scale: float, offset: float) -> Cause:
    """The name of inputs `scale * pixel / 255 + offset`."""

    def near(a: float, b: float) -> bool:
        # 1e-5 is far above float32 rounding, and far below the distance between any two cases.
        return bool(np.isclose(scale, a, rtol=1e-5) and np.isclose(offset, b, atol=1e-5))

    if near(255, 0):
        return Cause("pixels_not_scaled", "pixels are 0 .. 255")
    if near(1 / 255, 0):
        return Cause("pixels_scaled_twice", "pixel / 255 / 255")
    if near(255 / 256, 0):
        return Cause("pixels_divided_by_256", "pixel / 256")
    if near(2, -1):
        return Cause("pixels_scaled_to_minus_one_one", "2 * pixel / 255 - 1")
    if near(-1, 1):
        return Cause("pixels_inverted", "1 - pixel / 255")
    if abs(offset) < 1e-5:
        return Cause(UNKNOWN, f"pixels {scale:.4g} times too large")
    mean, deviation = -offset / scale, 1 / scale
    return Cause("mean_std_normalisation", f"mean {mean:.4g}, standard deviation {deviation:.4g}")


def _moved(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    height, width = recipe.image_shape
    if height * width != step.images.shape[1]:
        return
    for name, (text, move) in MOVES.items():

        def pixels(images: Array, move: Move = move) -> Expected:
            moved = move(images.reshape(len(images), height, width)).reshape(len(images), -1)
            x = np.asarray(moved, np.float64) / 255
            return Expected(x, np.abs(x))

        cause = "image_rotated" if name == "image_rotated_back" else name
        yield Hypothesis(Cause(cause, text), replace(recipe, pixels=pixels))


def _rounded(recipe: Recipe, step: JudgedStep) -> Iterator[Hypothesis]:
    """Inputs that fit into 8 or 11 significant bits, and perhaps all later stages too."""
    got = np.asarray(step.record.inputs, np.float64)
    for kind, mantissa in (("bfloat16", 7), ("float16", 10)):
        if not np.array_equal(keep_bits(got, mantissa), got):
            continue

        def pixels(images: Array, bits: int = mantissa) -> Expected:
            x = np.asarray(images, np.float64) / 255
            return Expected(x, np.abs(x) * 2.0**-bits / recipe.eps)

        # Only the first layer is tested: with mixed precision, Keras's guide tells users to keep
        # the last one in float32.
        if _fits(step.record.pre_activations[:1], mantissa):

            def coarse(images: Array) -> Expected:
                x = np.asarray(images, np.float64) / 255
                return Expected(x, np.abs(x))

            cause = Cause(f"{kind}_arithmetic", "from the inputs on")
            yield Hypothesis(cause, replace(recipe, pixels=coarse, eps=2.0**-mantissa))
        yield Hypothesis(Cause(f"{kind}_inputs"), replace(recipe, pixels=pixels))
        return


def _fits(results: Sequence[Array], mantissa: int) -> bool:
    """Whether all numbers of some results fit into this many mantissa bits."""

    return bool(results) and all(
        np.array_equal(keep_bits(z, mantissa), np.asarray(z, np.float64)) for z in results
    )


def _binarised(recipe: Recipe) -> Iterator[Hypothesis]:
    for threshold in (0, 127):

        def pixels(images: Array, above: int = threshold) -> Expected:
            x = (np.asarray(images) > above).astype(np.float64)
            return Expected(x, np.abs(x))

        yield Hypothesis(
            Cause("pixels_binarised", f"pixel > {threshold}"), replace(recipe, pixels=pixels)
        )
