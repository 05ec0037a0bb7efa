"""Random draws of a step, and how they are laid into the other side's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod

from mnist_mlp.reference import Array


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of random numbers: for a dropout, which elements stay, and how probable that was;
    for `normal` noise, numbers of mean 0 and deviation 1.

    `source` is the number of the layer whose result is dropped of, where that is known: branches of
    a network may run in another order in the other framework. `channels_last` is where the
    framework that drew has them.
    """

    keep: Array
    probability: float = 1.0
    source: int | None = None
    normal: bool = False
    channels_last: bool | None = None


class Planned:
    """Draws to be used once each: that of the same source, else the next of the others."""

    def __init__(self, draws: Sequence[Draw], *, channels_last: bool) -> None:
        self._left = list(draws)
        self._channels_last = channels_last

    def next(
        self, source: int | None, shape: Sequence[int], *, normal: bool = False
    ) -> Array | None:
        """The draw for what is behind a layer, laid out in a shape; None if it does not fit."""
        places = [i for i, draw in enumerate(self._left) if draw.normal == normal]
        if not places:
            return None
        place = next((i for i in places if self._left[i].source == source is not None), places[0])
        draw = self._left[place]
        laid = laid_out(
            draw.keep,
            shape,
            channels_last=self._channels_last,
            elsewhere=draw.channels_last is not None and draw.channels_last != self._channels_last,
        )
        if laid is not None:
            del self._left[place]
        return laid


MAPS = 4
"""Axes of a batch of maps, whose channels stand elsewhere in the other framework. With fewer axes,
features may be last in both."""


def laid_out(
    keep: Array, shape: Sequence[int], *, channels_last: bool, elsewhere: bool = False
) -> Array | None:
    """The same elements in another order of the axes; None if they do not fit `shape`.

    Where several orders fit, channels go last, or first after the batch; `elsewhere` says that they
    come from a framework that has them at the other place.
    """
    shape, axes = tuple(shape), range(keep.ndim)
    if keep.shape == shape and not (elsewhere and keep.ndim >= MAPS):
        return keep
    likely = (
        (*axes[:1], *axes[2:], *axes[1:2])
        if channels_last
        else (*axes[:1], *axes[1:][-1:], *axes[1:-1])
    )
    for order in (likely, *permutations(axes)):
        if tuple(keep.shape[i] for i in order) == shape:
            return keep.transpose(order)
    plain = tuple(n for n in shape if n != 1)
    squeezed = keep.squeeze()
    if (squeezed.shape, plain) == (keep.shape, shape) or keep.size != prod(shape):
        return None
    inner = laid_out(squeezed, plain, channels_last=channels_last)  # an axis of length 1 more
    return None if inner is None else inner.reshape(shape)
