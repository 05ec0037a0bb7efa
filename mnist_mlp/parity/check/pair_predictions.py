"""The outputs of both models in evaluation, once their steps are judged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.parity.check.pair_random import random_outputs
from mnist_mlp.parity.check.pair_side import Side
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.arrange import laid_like, steps_like, windows_like
from mnist_mlp.parity.pair.results import results_apart
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.inputs import Inputs
from mnist_mlp.ports.pair import RESULT
from mnist_mlp.reference import Array, Tensors

PREDICTED = 1e-9
"""Largest relative difference of two outputs in evaluation."""


def look_at_predictions(
    seen: PairEvidence, original: Side, port: Side, run: PairRun, x: Inputs
) -> None:
    """Outputs in evaluation, from the weights after the last judged step."""
    after: Tensors = run.steps_a[-1].after
    try:
        all_ours = original.worker.pair_predict(after, x)
        all_theirs = port.worker.pair_predict(run.weights.to_b(after), run.rows_b.as_one)
    except UsageError as error:
        seen.leave_out("predictions", reason=str(error))
        return
    except UserCodeError as error:
        # Nobody knows how a module that takes several inputs in training wants them elsewhere.
        if isinstance(x, np.ndarray) and isinstance(run.rows_b.x, np.ndarray):
            raise
        seen.leave_out("predictions", reason=f"it does not run on what training gets: {error}")
        return
    both = [
        (all_ours[pair.a.number], all_theirs[pair.b.number])
        for pair in run.weights.pairs
        if pair.a.number in all_ours and pair.b.number in all_theirs
    ]
    whole = all_ours.get(RESULT), all_theirs.get(RESULT)
    if not both or len(both) < len(all_ours.keys() - {RESULT}):
        apart = results_apart(whole[1], whole[0])
        if whole[0] is None or apart is None or not apart <= PREDICTED:
            seen.leave_out("predictions", reason="the two have other layers at their ends")
        else:
            seen.compared["predictions"] = len(whole[0])
        return
    moved, shown = np.zeros(len(both[0][0]), bool), ("", "")
    for expected, given in both:
        got, wanted = laid_like(given, expected), expected
        if got is None:
            alike = steps_like(given, expected) or windows_like(given, expected)
            got, wanted = alike or (np.full_like(wanted, np.nan), wanted)
        apart = np.abs(got - wanted).reshape(len(wanted), -1).max(axis=1)
        here = ~(apart <= PREDICTED * float(np.abs(wanted).max()))
        if here.any() and not moved.any():
            row = int(np.flatnonzero(here)[0])
            shown = f"{got[row].ravel()[0]:.9g} for row {row}", f"{wanted[row].ravel()[0]:.9g}"
        moved |= here
    seen.compared["predictions"] = len(moved)
    seen.different = int(moved.sum())
    if not seen.different:
        return
    found = random_outputs(
        Break(
            side="b",
            rung="predictions",
            place=Place(tensor="outputs"),
            got=shown[0],
            expected=shown[1],
            cause=Cause(
                UNKNOWN, f"{seen.different} rows in evaluation, though training steps are clean"
            ),
        ),
        lambda: _in_one(original.worker.pair_predict(after, x)),
        lambda: _in_one(port.worker.pair_predict(run.weights.to_b(after), run.rows_b.as_one)),
    )
    if isinstance(found, str):
        del seen.compared["predictions"]
        seen.different = 0
        seen.leave_out("predictions", reason=found)
    else:
        seen.breaks.append(found)


def _in_one(outputs: Mapping[int, Array]) -> Array:
    """All outputs of a row beside each other."""
    known = sorted((n, each) for n, each in outputs.items() if n != RESULT)
    return np.concatenate([each.reshape(len(each), -1) for _, each in known], 1)
