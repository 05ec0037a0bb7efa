"""What of the batches that both sides bring cannot be judged, in words."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_mlp.errors import UsageError
from mnist_mlp.parity.check.pair_data import ROW_WEIGHTS
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN
from mnist_mlp.ports.pair import (
    PairBrought,
)


def leave_weighted_open(seen: PairEvidence, brought: Sequence[PairBrought]) -> None:
    """Judged steps have no weights of single rows. Where only one side brings some, and the losses
    differ without them, the other one may have them in its own code."""
    if sum(_weighted(side) for side in brought) != 1:
        return
    unclear = [x for x in seen.breaks if x.cause.name == UNKNOWN and x.rung in ("loss", "gradient")]
    if not any(ROW_WEIGHTS not in str(x.cause.value) for x in unclear):
        return
    seen.breaks = [x for x in seen.breaks if x not in unclear]
    seen.not_judged.append(
        "the loss, which differs without the weights of single rows that one side brings: the "
        "other may have them in its own code"
    )


def _weighted(side: PairBrought) -> bool:
    return side.own is not None and any(one.weights is not None for one in side.own.epochs)


def refuse_third(brought: Sequence[PairBrought], label: str) -> None:
    """Batches of three are two inputs and targets, or one input with targets and weights, or with
    an entry of a dictionary that is no input."""
    mine, theirs = (side.own for side in brought)
    if mine is None or theirs is None or mine.parts:
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


def of_brought(brought: Sequence[PairBrought]) -> list[str]:
    """What of both sides' data is not judged."""
    found = [text for side in brought for text in side.not_judged]
    for whose, side in zip(("original", "port"), brought, strict=True):
        if _weighted(side):
            found.append(f"the {whose}'s weights of single rows")
    return found
