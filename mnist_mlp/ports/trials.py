"""Try a user's model several times: with rows in several forms, and after several seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mnist_mlp.errors import UserCodeError
from mnist_mlp.ports.pair import Mend, PairFacts
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.reference import Tensors

DRAWS = 24
"""Models made for their initial weights. The tutorial's smallest kernel has 640 elements, so that
24 models give a distribution of 15,360."""

MOST_DRAWS, FEW_VALUES = 120, 1_000
"""More models are made until each kernel has so many values. Two widths that differ by a tenth are
told apart by 200 of them."""


def distinct_draws(draw: Callable[[int], Tensors], *, seconds: float) -> tuple[Tensors, ...]:
    """Initial weights of models, drawn with the seeds 0, 1, ... for so many seconds of processor
    time at most.

    On a busy machine as many are made as on a quiet one: few of them would hide a difference. The
    first one that equals the one before is left out, and ends the rest: the model seeds itself.
    """
    start = time.process_time()
    found: list[Tensors] = []
    for seed in range(MOST_DRAWS):
        if found and seed >= wanted_draws(_fewest(found[0])):
            break
        weights = draw(seed)
        if found and all(np.array_equal(weights[name], w) for name, w in found[-1].items()):
            break
        found.append(weights)
        if time.process_time() - start > seconds:
            break
    return tuple(found)


def wanted_draws(values: int) -> int:
    """How many models are made whose smallest kernel has so many values."""
    return min(max(DRAWS, -(-FEW_VALUES // values)), MOST_DRAWS)


def _fewest(weights: Tensors) -> int:
    """Values of the smallest kernel."""
    return min((w.size for w in weights.values() if w.ndim > 1), default=FEW_VALUES)


def first_that_runs(
    candidates: Sequence[PairRows], look: Callable[[PairRows, int], PairFacts]
) -> PairFacts:
    """What a model shows with the first rows, of one candidate or more, that it takes.

    Raises
    ------
    UserCodeError
        It takes none of them; the error is that of the first.
    """
    errors = []
    for number, rows in enumerate(candidates):
        try:
            return look(rows, number)
        except UserCodeError as error:
            errors.append(error)
    raise errors[0]


def mends_of_layers(mends: Sequence[Mend]) -> dict[int, list[Mend]]:
    """The changes of each layer, by its number."""
    found: dict[int, list[Mend]] = {}
    for mend in mends:
        if mend.layer is not None:
            found.setdefault(mend.layer, []).append(mend)
    return found
