"""The embedded data set: scikit-learn's 1,797 scanned digits, made into 70,000 images of 28 x 28.

It is for machines that cannot get MNIST. A specification written for MNIST runs on it unchanged and
takes as long. Each scan (8 x 8 pixels, 17 greys) is first drawn as a smooth stroke on a fine grid.
Each of the 70,000 images then shows one scan with its own small shift, rotation, scale and shear.

The result has the same bytes on every machine. It is made from PCG64 doubles with `+ - * /`,
`floor`, `rint` and comparisons only, because IEEE 754 defines their rounding. Sines, matrix
products and sums over an axis are avoided, because their rounding differs between machines.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_mlp.data.cache import cache_dir, filling
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.data.facts import Say, quiet
from mnist_mlp.data.idx import read_idx, write_idx
from mnist_mlp.errors import DataError, SetupError

ROWS = 70_000
SIDE = 28
SCANS = 1_797
# `Dataset.digest` of the set. It changes only if the recipe below is changed on purpose.
DIGITS_DIGEST = "1850d6776f97d2752ae49afa3d2b8cefca62cededbbeaf702b1d8b037be22854"
SOURCE = "embedded, made from scikit-learn's digits"

# Keys 0 and 1 of the project's random streams belong to the plan (weights, order). This stream
# has key 2, so that it is independent of both.
_SEED, _STREAM = 0, (2,)
# Half-widths of the uniform jitter. Rotation is given as t = tan(angle / 2): 0.11 is 12.5 degrees.
_SHIFT_PX, _ROTATION, _SCALE, _SHEAR = 1.5, 0.11, 0.12, 0.15

# A cell of a scan spans 2.5 pixels, so its 8 x 8 cells fill 20 x 20 pixels, as MNIST's digits do.
# The fine grid has 2 points per pixel and 2 empty cells around the scan.
_POINTS_PER_PX = 2
_POINTS_PER_CELL = 5
_MARGIN_CELLS = 2
_FINE = (8 + 2 * _MARGIN_CELLS) * _POINTS_PER_CELL
# Greys (0 .. 16) below the first value become paper, greys above the second become full ink. This
# makes sharp strokes from the blurred scans.
_FAINT, _FULL = 4.0, 12.0
_CHUNK = 256  # images made at once, so that the temporary arrays stay small


def load_embedded(*, say: Say = quiet) -> Dataset:
    """Load the embedded set from the user's cache, or make it and try to cache it.

    Parameters
    ----------
    say : function of one line
        Called with a message if the set has to be made.

    Returns
    -------
    Dataset
        As `make_digits`.
    """
    # The digest is in the name, so that a later version of the recipe does not read these files.
    folder = cache_dir() / f"digits-{DIGITS_DIGEST[:12]}"
    kept = _read_kept(folder)
    if kept is not None:
        return kept
    say("making the embedded digits, which takes some seconds")
    made = make_digits()
    if made.digest != DIGITS_DIGEST:
        # Another digest means another data set. Every run records it, so the user must know.
        say(
            f"the embedded digits differ from those of other machines: digest {made.digest}, "
            f"expected {DIGITS_DIGEST}. Perhaps scikit-learn has changed its scans."
        )
        return made
    with suppress(SetupError), filling(folder) as partial:  # the cache is optional
        write_idx(partial / "images", made.images)
        write_idx(partial / "labels", made.labels)
    return made


def _read_kept(folder: Path) -> Dataset | None:
    """Read the embedded set from the cache; None if its files are missing or damaged."""
    try:
        images = read_idx(folder / "images", ndim=3)
        labels = read_idx(folder / "labels", ndim=1)
    except DataError:
        return None
    kept = _dataset(images, labels)
    return kept if kept.digest == DIGITS_DIGEST else None


def _dataset(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Dataset:
    groups = np.arange(len(labels), dtype=np.int32) % SCANS
    return Dataset("digits", SOURCE, images, labels, classes=10, groups=groups)


def make_digits() -> Dataset:
    """Make the embedded set from scikit-learn's scans (a few seconds).

    Returns
    -------
    Dataset
        `digits`: images uint8 (70000, 28, 28), labels uint8 (70000,) and 10 classes. The groups,
        int32 (70000,), give the scan of each row, 0 .. 1796. Row r shows scan r % 1797, so that the
        first few thousand rows hold every scan about equally often.
    """
    from sklearn.datasets import load_digits

    scans, targets = load_digits(return_X_y=True)
    scan_of_row = np.arange(ROWS) % SCANS
    fine = _draw_fine(scans.reshape(-1, 8, 8))
    images = np.empty((ROWS, SIDE, SIDE), dtype=np.uint8)
    matrices, offsets = _draw_jitter(ROWS)
    for start in range(0, ROWS, _CHUNK):
        rows = slice(start, min(start + _CHUNK, ROWS))
        images[rows] = _look(fine, scan_of_row[rows], matrices[:, rows], offsets[:, rows])
    return _dataset(images, targets.astype(np.uint8)[scan_of_row])


def _draw_fine(scans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn scans (n, 8, 8) with greys 0 .. 16 into strokes (n, fine, fine) with ink 0 .. 255.

    Uses Catmull-Rom interpolation (Keys' cubic convolution, a = -0.5), one axis after the other.
    """
    ink = np.pad(scans, ((0, 0), (_MARGIN_CELLS, _MARGIN_CELLS), (_MARGIN_CELLS, _MARGIN_CELLS)))
    for axis in (1, 2):
        ink = _interpolate(ink, axis)
    return np.clip((ink - _FAINT) / (_FULL - _FAINT), 0.0, 1.0) * 255.0


def _interpolate(x: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Interpolate `x` to `_POINTS_PER_CELL` times as many points along one axis."""
    n = x.shape[axis]
    # Fine point p lies at the centre of its share of the cell: (p + 0.5) / points - 0.5 cells.
    at = (np.arange(n * _POINTS_PER_CELL) + 0.5) / _POINTS_PER_CELL - 0.5
    left = np.floor(at)
    t = at - left
    weights = (
        ((2.0 - t) * t - 1.0) * t * 0.5,
        ((3.0 * t - 5.0) * t * t + 2.0) * 0.5,
        ((4.0 - 3.0 * t) * t + 1.0) * t * 0.5,
        (t - 1.0) * t * t * 0.5,
    )
    shape = [1] * x.ndim
    shape[axis] = len(at)
    out = np.zeros((*x.shape[:axis], len(at), *x.shape[axis + 1 :]))
    for tap, weight in enumerate(weights, start=-1):
        index = np.clip(left.astype(np.intp) + tap, 0, n - 1)
        out += weight.reshape(shape) * np.take(x, index, axis=axis)
    return out


def _draw_jitter(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw for each row the affine map from a pixel of its image to a place on the fine grid.

    Returns
    -------
    matrices : float64 (4, n)
        Entries yy, yx, xy, xx, in fine points per pixel.
    offsets : float64 (2, n)
        Shift (y, x) in fine points.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(_SEED, spawn_key=_STREAM)))
    u = rng.random((6, n)) * 2.0 - 1.0
    t = u[0] * _ROTATION
    # Sine and cosine from t, because np.sin and np.cos differ between machines in the last bit.
    cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    size_y, size_x = 1.0 + u[1] * _SCALE, 1.0 + u[2] * _SCALE
    shear = u[3] * _SHEAR
    yy, yx = cos / size_y, sin / size_y
    xy, xx = (shear * cos - sin) / size_x, (cos + shear * sin) / size_x
    matrices = np.stack([yy, yx, xy, xx]) * _POINTS_PER_PX
    return matrices, u[4:] * (_SHIFT_PX * _POINTS_PER_PX)


def _look(
    fine: NDArray[np.float64],
    scans: NDArray[np.intp],
    matrices: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Images uint8 (n, 28, 28): each row's scan under its map, with bilinear interpolation."""
    centre = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = centre[:, None], centre[None, :]
    yy, yx, xy, xx = matrices[:, :, None, None]
    dy, dx = offsets[:, :, None, None]
    middle = (_FINE - 1) / 2
    # The border of the grid is blank, so clipping a place outside to the border gives blank, too.
    # The upper limit is a bit below _FINE - 1, because the next point is read as well.
    v = np.clip(yy * y + yx * x + dy + middle, 0.0, _FINE - 1.001)
    u = np.clip(xy * y + xx * x + dx + middle, 0.0, _FINE - 1.001)
    v0, u0 = np.floor(v), np.floor(u)
    b, a = v - v0, u - u0
    flat = fine.reshape(-1)
    at = ((scans[:, None, None] * _FINE + v0) * _FINE + u0).astype(np.intp)
    top = flat[at] * (1.0 - a) + flat[at + 1] * a
    at += _FINE
    bottom = flat[at] * (1.0 - a) + flat[at + 1] * a
    image: NDArray[np.float64] = top * (1.0 - b) + bottom * b
    return np.rint(image).astype(np.uint8)
