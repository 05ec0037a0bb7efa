"""Random numbers that cannot be exchanged between two models, and random outputs in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause
from mnist_mlp.parity.pair.breaks import Explained
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.reference import Array

SHOWN_BY = ("forward", "loss", "gradient")
"""Rungs at which numbers that were drawn otherwise differ."""

Predict = Callable[[], Array]


def leave_unseen_open(
    seen: PairEvidence, result: Explained, sides: Sequence[Sequence[PairStep]]
) -> None:
    """A difference without a name may be nothing but other random numbers, where a side draws some
    that the other cannot be given."""
    names = [
        f"the {whose} by {name}"
        for whose, steps in zip(("original", "port"), sides, strict=True)
        for name in dict.fromkeys(name for step in steps for name in step.unseen)
    ]
    if not names or _lacks(*sides) or _lacks(*sides[::-1]):
        return
    unclear = [x for x in result.breaks if x.rung in SHOWN_BY and x.cause.name == UNKNOWN]
    result.breaks[:] = [x for x in result.breaks if x not in unclear]
    for rung in dict.fromkeys(x.rung for x in unclear):
        seen.not_judged.append(
            f"the {rung}, which differs: random numbers are drawn that the other side cannot be "
            f"given ({', '.join(names)})"
        )


def _lacks(one: Sequence[PairStep], other: Sequence[PairStep]) -> bool:
    """Whether one side draws less than the other in each step, and nothing that is not known: then
    the difference is one of the two models, whatever the other draws."""
    return all(
        not mine.unseen and theirs.unseen and len(mine.draws) <= len(theirs.draws)
        for mine, theirs in zip(one, other, strict=True)
    )


def random_outputs(item: Break, ours: Predict, theirs: Predict) -> Break | str:
    """A difference in evaluation, or in words why it is none, where a side's outputs are random."""
    if _differ(theirs):
        if _differ(ours):
            return "the outputs of both are random in evaluation"
        text = "two evaluations of the same rows differ: dropout or noise is active"
        cause = Cause("random_in_evaluation", text)
    elif _differ(ours):
        cause = Cause("random_in_evaluation", "the original's outputs are random, these are not")
    else:
        return item
    return Break(
        side=item.side, rung=item.rung, place=item.place, got=item.got, expected=item.expected,
        cause=cause,
    )  # fmt: skip


def _differ(predict: Predict) -> bool:
    """Whether two evaluations of the same rows do."""
    return not np.array_equal(predict(), predict(), equal_nan=True)
