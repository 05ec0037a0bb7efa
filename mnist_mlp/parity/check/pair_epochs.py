"""How long the two sides of a pair train."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.parity.pair.feed import DATASET, Fed
from mnist_mlp.plan import Plan
from mnist_mlp.ports.pair_rows import RunLength
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.user_code import is_script

Lengths = tuple[RunLength, RunLength]


def epochs_breaks(original: Target, port: Target, a: int | None, b: int | None) -> list[Break]:
    """Two scripts that train for different numbers of epochs.

    What stands beside a model under a name is no training, and how long it is trained not known.
    """
    if not (is_script(original.text) and is_script(port.text)) or a == b or None in (a, b):
        return []
    assert a is not None
    assert b is not None
    fix = f"{a} epochs"
    cause = Cause("epochs_missing", f"{b} of {a} epochs", fix=fix)
    if b > a:
        cause = Cause("more_epochs", f"{b} epochs instead of {a}", fix=fix)
    return [
        Break(
            side="b",
            rung="spec",
            place=Place(),
            got=f"{b} epochs",
            expected=f"{a} epochs",
            cause=cause,
        )
    ]


def run_lengths(
    brought: Sequence[PairBrought], fed: Fed, plan: Plan
) -> tuple[RunLength, RunLength]:
    """How long both runs are meant to be, in the original's updates."""
    if brought[0].own is not None and brought[0].own.epochs:
        steps = -(-len(brought[0].own.epochs[0].sizes) // brought[0].accumulated)
    elif fed.source == DATASET:
        steps = -(-len(plan.train_ids) // fed.a[0].batch_size)
    elif brought[1].own is not None and brought[1].own.epochs:
        steps = -(-len(brought[1].own.epochs[0].sizes) // brought[1].accumulated)
    else:
        steps = fed.a[0].steps
    known = [side.epochs for side in brought if side.epochs]
    epochs = known[0] if known else plan.spec.training.epochs
    own = any(side.own is not None and side.own.epochs for side in brought)
    guessed = not (own and known)
    first, second = (RunLength(side.epochs or epochs, steps, guessed) for side in brought)
    return first, second
