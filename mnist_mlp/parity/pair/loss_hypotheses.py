"""Hypotheses about any loss, whoever computes it: what its numbers show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.updates import Hypothesis
from mnist_mlp.ports.pair import Mend

SAME = 1e-10
"""Relative difference of two factors that are the same; they are quotients of float64 losses."""

SINGLE = 1e-6
"""Relative difference that a number rounded to float32 makes: a table of positions that was made
before the model was turned to float64, or a function that knows no float64."""


def by_hand(run: PairRun, mended: Sequence[Mend]) -> Iterator[Hypothesis]:
    """What shows of any loss, whoever computes it."""
    first, pairs, y = run.steps_a[0], run.weights.pairs, run.rows_b.y
    outputs = first.outputs[pairs[-1].a.number] if pairs else first.result
    of_one = outputs is not None and outputs.shape[1:] == (1,)
    if isinstance(y, np.ndarray) and y.ndim == 1 and of_one:
        text = "outputs (n, 1) against targets (n,)"
        yield Hypothesis((Mend(None, "column"),), Cause("targets_broadcast", text))
    steps = run.steps_b(mended)
    if any(not np.isfinite(step.loss) or step.loss == 0 for step in (*run.steps_a, *steps)):
        return
    gaps = [b.loss - a.loss for a, b in zip(run.steps_a, steps, strict=False)]
    sizes = max(abs(step.loss) for step in (*run.steps_a, *steps))
    if max(gaps) - min(gaps) <= SAME * sizes < SINGLE * max(map(abs, gaps)):
        text = f"{gaps[0]:.6g} more than in the original"
        mends = (Mend(None, "loss_shift", -float(np.mean(gaps))),)
        yield Hypothesis(mends, Cause("constant_in_loss", text), noted=True)
    factors = [a.loss / b.loss for a, b in zip(run.steps_a, steps, strict=False)]
    rows = [len(run.rows_b.rows_of(k)) for k in range(len(factors))]
    weights = run.rows_a.weights if run.rows_a is not None else None
    if weights is not None:
        means = [weights[list(run.rows_b.rows_of(k))].mean() for k in range(len(factors))]
        if all(abs(f - mean) <= SAME * mean for f, mean in zip(factors, means, strict=True)):
            text = "the sum is divided by that of the weights, the original's by the rows"
            mends = (Mend(None, "loss_scale", tuple(factors)),)
            yield Hypothesis(mends, Cause("row_weights_normalised", text))
            return
    several = {run.facts_a.accumulated, run.facts_b.accumulated} != {1}
    if len(set(rows)) < 2 and not several:  # then a sum over the rows is no other than a constant
        return
    mends = (Mend(None, "loss_scale", tuple(factors)),)
    if all(abs(factor - 1) <= SINGLE for factor in factors):
        return  # a probability that one side keeps from zero, rather
    if _all_alike(factors):
        text = f"{1 / factors[0]:.6g} times the original's"
        fix = _fix_of_scale(run, factors[0])
        yield Hypothesis(mends, Cause("loss_scaled", text, fix=fix))
    elif _all_alike([factor * n for factor, n in zip(factors, rows, strict=False)]):
        times = 1 / (factors[0] * rows[0])
        text = "of all rows of a batch" + ("" if abs(times - 1) <= SAME else f", times {times:.6g}")
        fix = "take the mean over the rows of the batch in the loss, not the sum"
        yield Hypothesis(mends, Cause("loss_sum", text, fix=fix))
    elif _all_alike([factor / n for factor, n in zip(factors, rows, strict=False)]):
        times = rows[0] / factors[0]
        text = "over all rows of a batch" + (
            "" if abs(times - 1) <= SAME else f", times {times:.6g}"
        )
        fix = "sum over the rows of the batch in the loss, as the original does"
        yield Hypothesis(mends, Cause("loss_averaged", text, fix=fix))


def _fix_of_scale(run: PairRun, factor: float) -> str:
    """What to write for a loss that is the original's but for a constant factor."""
    loss = run.facts_b.loss
    if loss is not None and loss.kind == "kl_div" and run.facts_b.framework == "torch":
        outputs = run.steps_a[0].outputs[run.weights.pairs[-1].a.number]
        if abs(factor - outputs[0].size) <= SAME * factor:
            return f'reduction="batchmean" in {loss.name}'  # "mean" divides by the classes, too
    if factor > 1:
        return f"multiply the loss by {factor:.6g}, or leave out what divides it"
    return f"divide the loss by {1 / factor:.6g}, or leave out what multiplies it"


def _all_alike(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= SAME * abs(max(numbers, key=abs))
