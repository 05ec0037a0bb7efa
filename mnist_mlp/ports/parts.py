"""Several batches whose gradients make one update, as the one batch that they are together.

Rows stand along the first axis of whatever a layer is given and gives; the parts are equally large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.ports.draws import Draw
from mnist_mlp.reference import Array

SHARED = "random numbers that rows share"
"""What is said of draws that cannot be told apart by rows."""


def joined(parts: Sequence[Mapping[int, Array]], rows: int) -> dict[int, Array]:
    """What layers have of each part, of `rows` rows, as they would have it of all of them.

    A single number, as a loss, is the mean over the parts. What has rows along no axis is that of
    the last part.
    """
    return {
        number: _joined([part[number] for part in parts if number in part], rows)
        for number in parts[-1]
    }


def joined_result(parts: Sequence[Array | None], rows: int) -> Array | None:
    """The same of a model's result; None if a part has none."""
    arrays = [part for part in parts if part is not None]
    return _joined(arrays, rows) if len(arrays) == len(parts) else None


def _joined(arrays: Sequence[Array], rows: int) -> Array:
    if len(arrays) == 1:
        return arrays[0]
    if not arrays[-1].ndim:
        return np.asarray(np.mean(arrays))
    axis = next((k for k in (0, 1) if arrays[-1].shape[k : k + 1] == (rows,)), None)
    return arrays[-1] if axis is None else np.concatenate(arrays, axis=axis)


def joined_draws(
    parts: Sequence[Sequence[Draw]], rows: int
) -> tuple[tuple[Draw, ...], tuple[str, ...]]:
    """The draws of each part, of `rows` rows, as those of all, and what cannot be joined."""
    if len(parts) == 1:
        return tuple(parts[0]), ()
    if len({len(part) for part in parts}) > 1:
        return (), (SHARED,)
    found, unseen = [], dict[str, None]()
    for several in zip(*parts, strict=True):
        keeps = [draw.keep for draw in several]
        if any(keep.shape[:1] != (rows,) for keep in keeps):
            unseen[SHARED] = None
            continue
        found.append(replace(several[0], keep=np.concatenate(keeps)))
    return tuple(found), tuple(unseen)


def draws_of(
    draws: Sequence[Draw], part: int, parts: int, rows: int
) -> tuple[tuple[Draw, ...], tuple[str, ...]]:
    """The draws for one of so many parts (from 0) of `rows` rows together, and what has none."""
    if parts == 1:
        return tuple(draws), ()
    size = rows // parts
    here = slice(part * size, (part + 1) * size)
    fitting = [draw for draw in draws if draw.keep.shape[:1] == (rows,)]
    unseen = (SHARED,) if len(fitting) < len(draws) else ()
    return tuple(replace(draw, keep=draw.keep[here]) for draw in fitting), unseen
