"""Rows of one side laid out as the other has them."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_pixels import _laid_out


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((5, 6, 3), (2, 0, 1)),
        ((3, 5, 6), (1, 2, 0)),
        ((4, 7, 6, 2), (0, 3, 1, 2)),
        ((4, 2, 7, 6), (0, 2, 3, 1)),
        ((4, 7, 6, 2), (3, 0, 1, 2)),
        ((9, 2), (1, 0)),
    ],
    ids=["an image", "back", "a film", "a film back", "a volume", "a series"],
)
def test_channels_stand_elsewhere(shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((3, *shape))
    moved = x.transpose(0, *(axis + 1 for axis in order))
    got = _laid_out(x.reshape(3, -1), shape, moved.shape[1:])
    np.testing.assert_array_equal(got, moved.reshape(3, -1))


def test_other_shapes_are_left_as_they_are() -> None:
    x = np.random.default_rng(0).random((3, 12))
    assert _laid_out(x, (3, 4), (2, 6)) is x
    assert _laid_out(x, (3, 4), (3, 4)) is x
