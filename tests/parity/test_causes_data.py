"""Pixels that arrive as other numbers: each way is named at the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy_side import NumpySide
from small_problems import SIDE, look_at, only_break, problem, spec_of, told

from mnist_mlp.parity.causes.explain import explain
from mnist_mlp.reference import Array

SPEC = spec_of()


def as_images(move: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def pixels(images: Array) -> Array:
        return move(images.reshape(-1, SIDE, SIDE)).reshape(len(images), -1) / np.float32(255)

    return pixels


def affine(scale: float, offset: float) -> Callable[[Array], Array]:
    return lambda images: images.astype(np.float64) * scale + offset


def normalised(mean: float, deviation: float) -> Callable[[Array], Array]:
    """As torchvision's ToTensor and Normalize do it, in float32."""

    def pixels(images: Array) -> Array:
        x = images / np.float32(255)
        return (x - np.float32(mean)) / np.float32(deviation)

    return pixels


def bfloat16(tensor: Array) -> Array:
    """Rounded to nearest even in the upper half of a float32."""
    bits = np.asarray(tensor, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


FAULTS: dict[str, tuple[Callable[[Array], Array], str, str]] = {
    "transposed": (as_images(lambda i: i.transpose(0, 2, 1)), "image_axes_swapped", ""),
    "left and right": (as_images(lambda i: i[:, :, ::-1]), "image_flipped", ""),
    "top and bottom": (as_images(lambda i: i[:, ::-1]), "image_upside_down", ""),
    "quarter turn": (as_images(lambda i: np.rot90(i, 1, (1, 2))), "image_rotated", "by 90"),
    "quarter back": (as_images(lambda i: np.rot90(i, -1, (1, 2))), "image_rotated", "by 270"),
    "half a turn": (as_images(lambda i: np.rot90(i, 2, (1, 2))), "image_turned", "180"),
    "raw": (affine(1, 0), "pixels_not_scaled", ""),
    "by 256": (affine(1 / 256, 0), "pixels_divided_by_256", ""),
    "minus one to one": (affine(2 / 255, -1), "pixels_scaled_to_minus_one_one", ""),
    "inverted": (affine(-1 / 255, 1), "pixels_inverted", ""),
    "MNIST mean": (
        normalised(0.1307, 0.3081),
        "mean_std_normalisation",
        "mean 0.1307, standard deviation 0.3081",
    ),
    "half and half": (
        normalised(0.3, 0.5),
        "mean_std_normalisation",
        "mean 0.3, standard deviation 0.5",
    ),
    "float16": (
        lambda images: (images / np.float32(255)).astype(np.float16),
        "float16_inputs",
        "",
    ),
    "bfloat16": (lambda images: bfloat16(images / np.float32(255)), "bfloat16_inputs", ""),
    "black and white": (lambda images: images > 0, "pixels_binarised", "> 0"),
    "halfway": (lambda images: images > 127, "pixels_binarised", "> 127"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_other_pixels_are_named(name: str) -> None:
    pixels, cause, value = FAULTS[name]
    found = only_break(SPEC, pixels=pixels)
    assert told(found) == (cause, "data", 1, 0, "inputs")
    assert found.epoch == 1
    assert value in (found.cause.value or "")


@pytest.mark.parametrize("options", [{}, {"name": "adam", "learning_rate": 0.003}])
def test_one_ulp_is_noted_and_tolerated(options: dict[str, Any]) -> None:
    """Pixels times 1/255: 126 of the 256 greys come out one unit of the last place off."""
    spec = spec_of(**options)
    seen = look_at(NumpySide(spec, pixels=lambda i: i * np.float32(1 / 255)), spec)
    assert seen.breaks == ()
    assert [cause.name for cause in seen.noted] == ["reciprocal_scaling"]
    clean = look_at(NumpySide(spec), spec)
    assert clean.noted == ()


def test_two_units_of_the_last_place_are_too_many() -> None:
    x = np.float32(1 / 255)
    two_off = np.nextafter(np.nextafter(x, np.float32(1)), np.float32(1))
    found = look_at(NumpySide(SPEC, pixels=lambda images: images * two_off), SPEC).breaks
    assert [(item.rung, item.step) for item in found] == [("data", 1)]


def _noisy(images: Array) -> Array:
    rng = np.random.default_rng(3)
    return images / 255 + rng.normal(0, 0.01, images.shape)


def _one_dead_pixel(images: Array) -> Array:
    x = images / np.float32(255)
    x[:, 4 * SIDE + 5] = 0
    return x


NAMELESS: dict[str, Callable[[Array], Array]] = {
    "noise": _noisy,
    "one dead pixel": _one_dead_pixel,
    "shifted by a pixel": as_images(lambda i: np.roll(i, 1, axis=2)),
    "square root": lambda images: np.sqrt(images / np.float32(255)),
    "each image to unit length": lambda images: images / np.linalg.norm(images, axis=1)[:, None],
    "each image's own mean": lambda images: images / 255 - images.mean(axis=1)[:, None] / 255,
    "blurred": as_images(lambda i: (i + 0.2 * np.roll(i, 1, axis=1)) / 1.2),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_what_has_no_hypothesis_stays_unknown(name: str) -> None:
    found = only_break(SPEC, pixels=NAMELESS[name])
    assert told(found) == ("unknown", "data", 1, 0, "inputs")
    assert "roundings at 18 judged steps from 1" in (found.cause.value or "")


def _dropped(rate: float, *, scaled: bool) -> Callable[[Array], Array]:
    rng = np.random.default_rng(1)

    def pixels(images: Array) -> Array:
        kept = rng.random(images.shape) >= rate
        x = (images / np.float32(255)).astype(np.float32)
        return np.where(kept, x / np.float32(1 - rate) if scaled else x, np.float32(0))

    return pixels


@pytest.mark.parametrize("scaled", [True, False])
def test_dropout_on_the_inputs(*, scaled: bool) -> None:
    """The rate is read off the scale; without one, off the share of zeros."""
    found = only_break(SPEC, pixels=_dropped(0.25, scaled=scaled))
    assert told(found) == ("dropout", "data", 1, 0, "inputs")
    rate = float((found.cause.value or "").split()[1])
    assert rate == (0.25 if scaled else pytest.approx(0.25, abs=0.02))
    assert "on the inputs" in (found.cause.value or "")


def test_inputs_of_another_shape() -> None:
    """As a backend would report them that keeps images two-dimensional."""
    steps = [
        replace(
            step, record=replace(step.record, inputs=step.record.inputs.reshape(-1, SIDE, SIDE))
        )
        for step in problem(SPEC).steps(NumpySide(SPEC))
    ]
    (found,) = explain(problem(SPEC).recipe, steps, side="a").breaks
    assert told(found) == ("other_shapes", "data", 1, 0, "inputs")
    assert found.cause.value == "shape (32, 12, 12), expected (32, 144)"
    assert found.model_dump(mode="json")["size"] is None
