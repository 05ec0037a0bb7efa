"""An L2 penalty in the loss of one side, where the other has a weight decay within its gradients.

Both make the same updates: the derivative of `factor * sum(w**2)` is `2 * factor * w`, which a
coupled decay of `2 * factor` adds. So that the two can be compared, the penalty is taken out of the
loss and the gradients, and counts as the decay that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.decays import Penalties, without
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.reference import Tensors


def set_apart(run: PairRun, own: Sequence[PairStep]) -> tuple[PairRun, Cause | None]:
    """The run with the penalties of one side taken for a decay, and what is noted of that.

    `own` are the port's steps as it stands. Where no decay is on the other side, nothing changes.
    """
    a, b = run.facts_a.penalties, run.facts_b.penalties
    steps = run.steps_a
    given = [step.gradients for step in steps]
    forced = [run.weights.to_b(gradients, gradients=True) for gradients in given]
    if a and not b and _decays(own) and _can_be_apart(steps, given):
        apart = without(steps, a)
        if _nearer(own[0].loss, apart[0].loss, steps[0].loss):
            return replace(run, steps_a=apart), _noted(a, "original", "port")
    if b and not a and _decays(steps) and _can_be_apart(own, forced):
        apart = without(own, b)
        if _nearer(steps[0].loss, apart[0].loss, own[0].loss):
            return replace(run, penalties_b=b), _noted(b, "port", "original")
    return run, None


def _noted(penalties: Penalties, whose: str, other: str) -> Cause:
    decays = ", ".join(f"{2 * factor:.6g}" for factor in dict.fromkeys(penalties.values()))
    text = f"a penalty in the {whose}'s loss decays weights by {decays}, the {other}'s optimizer"
    return Cause("decay_outside_loss", f"{text} has its own")


def _nearer(to: float, this: float, than: float) -> bool:
    """Whether the loss has the penalty at all: a loop may leave it out."""
    return abs(this - to) < abs(than - to)


def _decays(steps: Sequence[PairStep]) -> bool:
    """Whether an optimizer adds a decay to its gradients."""
    found = steps[0].optimizer.values() if steps else ()
    return any(each.get("weight_decay") and not each["decoupled"] for each in found)


def _can_be_apart(steps: Sequence[PairStep], given: Sequence[Tensors]) -> bool:
    """Whether gradients go to the optimizer as they were given, and it has no decay of its own."""
    return all(
        all(np.array_equal(step.applied[n], g) for n, g in own.items() if n in step.applied)
        and all(s and not s.get("weight_decay") and not s["clip"] for s in step.optimizer.values())
        for step, own in zip(steps, given, strict=True)
    )
