"""What of the batches that both sides bring cannot be judged, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.pair_data import ROW_WEIGHTS
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause
from mnist_mlp.parity.pair.feed import Fed
from mnist_mlp.ports.inputs import arrays_of
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import OwnData

SAME = 1e-9
"""Relative difference of two losses in float64 that are the same."""


def leave_weighted_open(
    seen: PairEvidence, brought: Sequence[PairBrought], fed: Fed | None = None
) -> None:
    """Where only one side brings weights of single rows, the other one may have them in its own
    code. Judged steps tell, if they have them; else a difference of the losses is left open."""
    if sum(_weighted(side) for side in brought) != 1:
        return
    side = 0 if _weighted(brought[0]) else 1
    if fed is not None and seen.judged and _has_weights(fed, side):
        seen.breaks = [x for x in seen.breaks if ROW_WEIGHTS not in str(x.cause.value)]
        if seen.broken("data", "forward"):
            seen.not_judged.append("weights of single rows, behind what differs before the loss")
        return
    unclear = [x for x in seen.breaks if x.cause.name == UNKNOWN and x.rung in ("loss", "gradient")]
    if not any(ROW_WEIGHTS not in str(x.cause.value) for x in unclear):
        return
    seen.breaks = [x for x in seen.breaks if x not in unclear]
    seen.not_judged.append(
        "the loss, which differs without the weights of single rows that one side brings: the "
        "other may have them in its own code"
    )


def weights_left_out(
    breaks: Sequence[Break], port: PairStep, unweighted: Callable[[], PairStep]
) -> list[Break]:
    """The breaks, with a name where the port's loss is that of an original without the weights."""
    places = [n for n, x in enumerate(breaks) if x.cause.name == UNKNOWN and x.rung == "loss"]
    found = list(breaks)
    if places and abs(unweighted().loss - port.loss) <= SAME * abs(port.loss):
        cause = Cause("row_weights_missing", "its loss is the original's without them")
        for n in places:
            found[n] = found[n].caused_by(cause)
    return found


def _weighted(side: PairBrought) -> bool:
    return side.own is not None and any(one.weights is not None for one in side.own.epochs)


def refuse_third(brought: Sequence[PairBrought], label: str) -> None:
    """Batches of three are two inputs and targets, or one input with targets and weights, or with
    an entry of a dictionary that is no input."""
    mine, theirs = (side.own for side in brought)
    if mine is None or theirs is None:
        return
    if mine.parts:
        _refuse_no_targets(mine, theirs, label)
        return
    if theirs.keys is not None:
        alone = [part.name for part in theirs.parts if part.size == mine.rows.inputs]
        if alone:
            raise UsageError(
                f"{label}: its batches have the inputs {', '.join(theirs.keys.inputs)}, and the "
                f"original has one input, as long as {alone[0]!r}.\nGive it a loader of "
                f"dictionaries with {alone[0]!r} and {theirs.keys.target!r} alone."
            )
    if not (theirs.flat and theirs.parts):
        return
    if theirs.parts[0].size == mine.rows.inputs:
        raise UsageError(
            f"{label}: its batches have {len(theirs.parts) + 1} parts, and the original has one "
            f"input. Of a torch loader, check takes (x, y), or (a, b, y) for two inputs.\nGive it "
            f"a loader of (x, y), without weights of rows."
        )


def _refuse_no_targets(mine: OwnData, theirs: OwnData, label: str) -> None:
    """Of a flat batch, the last part is taken for targets. It is the original's last input where it
    has its size, and all others are there: as (anchor, positive, negative) beside dummy targets."""
    sizes = [part.size for part in theirs.parts] or [theirs.rows.inputs]
    sizes += _target_sizes(theirs)
    wanted, targets = [part.size for part in mine.parts], _target_sizes(mine)
    flat = theirs.flat or not theirs.parts
    if flat and sorted(sizes) == sorted(wanted) and sizes[-1:] != targets[-1:]:
        raise UsageError(
            f"{label}: its batches have {len(sizes)} parts, which are all inputs of the original. "
            f"Without targets, check takes one input.\nGive it a loader that has targets behind "
            f"them, as the original has, zeros if nobody reads them."
        )


def _target_sizes(own: OwnData) -> list[int]:
    given = [] if own.first_targets is None else arrays_of(own.first_targets)
    return [int(np.prod(y.shape[1:])) for y in given]


def of_brought(brought: Sequence[PairBrought], fed: Fed) -> list[str]:
    """What of both sides' data is not judged."""
    found = [text for side in brought for text in side.not_judged]
    for side, whose in enumerate(("original", "port")):
        if _weighted(brought[side]) and not _has_weights(fed, side):
            found.append(f"the {whose}'s weights of single rows")
    return found


def _has_weights(fed: Fed, side: int) -> bool:
    """Whether judged rows of a side have its weights, and not all the same."""
    rows = (fed.a, fed.b)[side][0]
    given = rows.weights is not None and len(np.unique(rows.weights)) > 1
    return given and (side == 0 or fed.own_rows or fed.a[0].weights is not None)
