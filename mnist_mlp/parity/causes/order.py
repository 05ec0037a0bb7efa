"""Why rows are not used in the planned order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_mlp.parity.findings import FEW_VALUES, UNKNOWN, Cause
from mnist_mlp.plan import Ids, Plan


def first_break(epochs: Sequence[Ids], plan: Plan) -> tuple[int, int, Cause] | None:
    """Epoch and step (from 1) of the first row that is not the planned one, and the cause.

    `epochs` holds the positions of each epoch, concatenated over its batches. Returns None if all
    are as planned.
    """
    size, per_epoch = plan.spec.training.batch_size, plan.steps_per_epoch
    for epoch, got in enumerate(epochs, start=1):
        planned = plan.order(epoch)
        if np.array_equal(got, planned):
            continue
        shared = min(len(got), len(planned))
        differing = np.flatnonzero(got[:shared] != planned[:shared])
        at = int(differing[0]) if len(differing) else shared
        return epoch, (epoch - 1) * per_epoch + at // size + 1, name(epochs, epoch, plan)
    return None


def name(epochs: Sequence[Ids], epoch: int, plan: Plan) -> Cause:
    """The cause that explains the order of one epoch. More special causes are tried first."""
    got, planned = epochs[epoch - 1], plan.order(epoch)
    n, size = len(planned), plan.spec.training.batch_size
    whole = n - n % size
    if len(got) == whole < n and np.array_equal(got, planned[:whole]):
        return Cause("last_batch_dropped", f"{n - whole} rows of each epoch")
    if np.array_equal(got, np.arange(n)):
        return Cause("not_shuffled", "rows in their order")
    if epoch > 1 and np.array_equal(got, epochs[0]):
        return Cause("order_not_reshuffled", f"epoch {epoch} repeats epoch 1")
    for other in (epoch + 1, epoch - 1):
        if other >= 1 and np.array_equal(got, plan.order(other)):
            return Cause("order_shifted", f"epoch {epoch} has the order of epoch {other}")
    if np.array_equal(got, planned[::-1]):
        return Cause("order_reversed", "the planned order backwards")
    if len(got) == n and np.array_equal(np.sort(got), np.arange(n)):
        few = int((got != planned).sum())
        if few <= FEW_VALUES:
            return Cause("altered_file", f"{few} rows have changed places")
        if epoch > 1:
            return Cause("order_drawn_elsewhere", f"as planned only up to epoch {epoch - 1}")
        return Cause("own_shuffle", "a permutation, but not the planned one")
    if len(got) == n and int((got != planned).sum()) <= FEW_VALUES:
        return Cause("altered_file", f"{int((got != planned).sum())} entries differ")
    if len(got) < n:
        return Cause(UNKNOWN, f"{n - len(got)} rows missing")
    return Cause(UNKNOWN, f"{len(np.unique(got))} different rows among {len(got)}")


def alternatives(plan: Plan, epoch: int) -> list[tuple[Cause, Ids]]:
    """Orders that a faulty loader may give for an epoch, each with its cause, to replay them."""
    planned = plan.order(epoch)
    n, size = len(planned), plan.spec.training.batch_size
    whole = n - n % size
    result = [
        (Cause("not_shuffled", "rows in their order"), np.arange(n)),
        (
            Cause("order_shifted", f"epoch {epoch} has the order of epoch {epoch + 1}"),
            plan.order(epoch + 1),
        ),
        (Cause("order_reversed", "the planned order backwards"), planned[::-1]),
    ]
    if 0 < whole < n:
        cause = Cause("last_batch_dropped", f"{n - whole} rows of each epoch")
        result.insert(0, (cause, planned[:whole]))
    if epoch > 1:
        cause = Cause("order_not_reshuffled", f"epoch {epoch} repeats epoch 1")
        result.insert(0, (cause, plan.order(1)))
        result.append(
            (
                Cause("order_shifted", f"epoch {epoch} has the order of epoch {epoch - 1}"),
                plan.order(epoch - 1),
            )
        )
    return result
