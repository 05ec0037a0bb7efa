"""An original's L2 penalty as a decay of the weights, which is what a port usually makes of it.

The gradient of `f * sum(w**2)` is `2 * f * w`, and a coupled decay of `2 * f` adds just that to the
gradient. Both train the same; only the loss that is told is another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.ports.update_rules import Settings
from mnist_mlp.reference import Tensors


def as_decay(run: PairRun, own: Sequence[PairStep]) -> Cause | None:
    """Let the original's steps have its penalty in the optimizer, if the port has it there.

    Parameters
    ----------
    run
        Its `steps_a` are exchanged.
    own
        Steps of the port as it stands.

    Returns
    -------
    Cause or None
        What there is to note; None where the steps are as they were.
    """
    factors = run.facts_a.penalties
    first, other = run.steps_a[0], own[0]
    if not factors or not _coupled(other.optimizer) or not _plain(first.optimizer):
        return None
    penalty = _penalty(factors, first.before)
    if not abs(other.loss - (first.loss - penalty)) < abs(other.loss - first.loss):
        return None
    run.exchange_original([_moved(step, factors) for step in run.steps_a])
    told = dict.fromkeys(f"{f:.6g} * sum(w**2) as {2 * f:.6g}" for f in factors.values())
    return Cause("penalty_as_decay", f"{', '.join(told)} in the optimizer")


def _coupled(settings: Mapping[str, Settings]) -> bool:
    """Whether an optimizer adds some of the weights to their gradients."""
    return any(s and s["weight_decay"] and not s["decoupled"] for s in settings.values())


def _plain(settings: Mapping[str, Settings]) -> bool:
    """Whether an optimizer is known, and neither decays nor clips: it would clip a penalty too."""
    return bool(settings) and not any(
        not s or s["weight_decay"] or s["clip"] for s in settings.values()
    )


def _penalty(factors: Mapping[str, float], weights: Tensors) -> float:
    return sum(f * float((weights[name] ** 2).sum()) for name, f in factors.items())


def _moved(step: PairStep, factors: Mapping[str, float]) -> PairStep:
    def without(gradients: Tensors) -> dict[str, Any]:
        return {
            name: g - 2 * factors[name] * step.before[name] if name in factors else g
            for name, g in gradients.items()
        }

    return replace(
        step,
        loss=step.loss - _penalty(factors, step.before),
        gradients=without(step.gradients),
        applied=without(step.applied),
        optimizer={
            name: {**s, "weight_decay": 2 * factors.get(name, 0.0), "decoupled": False}
            for name, s in step.optimizer.items()
        },
    )
