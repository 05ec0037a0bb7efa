"""What the judged steps of a script's own training loop must be, in both frameworks.

The loops train a network of 4, 3 and 1 units, tanh between them, by SGD with a rate of 0.1 on the
mean squared error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mnist_mlp.ports.pair import Forced, Mend, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.update_rules import Given, replayed
from mnist_mlp.worker.parent import Worker

RNG = np.random.default_rng(0)
ROWS = PairRows(RNG.normal(size=(20, 4)), RNG.normal(size=(20, 1)), 8)


def script(folder: Path, text: str, name: str = "loop.py") -> str:
    """A file with a script; its path."""
    path = folder / name
    path.write_text(text)
    return str(path)


def require_own_steps(steps: Sequence[PairStep]) -> None:
    """Two epochs of `ROWS`: each step goes on from the one before, and the first is right."""
    assert len(steps) == 6
    for before, after in pairwise(steps):
        for name, value in before.after.items():
            assert np.array_equal(after.before[name], value)
    first = steps[0]
    for name, gradient in first.gradients.items():
        assert gradient.dtype == np.float64
        assert np.allclose(first.after[name], first.before[name] - 0.1 * gradient, atol=1e-15)
    assert isinstance(ROWS.x, np.ndarray)
    x, y = ROWS.x[:8], ROWS.y[:8]
    hidden = np.tanh(x @ first.before["0/kernel"] + first.before["0/bias"])
    out = hidden @ first.before["2/kernel"] + first.before["2/bias"]
    assert first.loss == pytest.approx(((out - y) ** 2).mean(), rel=1e-14)


def require_changed_updates(
    worker: Worker, changes: Mapping[str, object], *, within: float
) -> Sequence[PairStep]:
    """Experiments make the updates that our own rule gives; the steps without them."""
    own = worker.pair_fit(PairJob(ROWS, 2))
    forced = tuple(Forced(step.before, step.gradients) for step in own)
    mends = tuple(Mend(None, field, value) for field, value in changes.items())
    steps = worker.pair_fit(PairJob(ROWS, 2, forced, mends))
    assert len(steps) == len(own) == 6
    given = [Given(step.before, step.gradients, step.optimizer) for step in own]
    for step, expected in zip(steps, replayed(given, changes), strict=True):
        assert expected.keys() == step.after.keys()
        for name, value in expected.items():
            assert np.allclose(step.after[name], value, rtol=0, atol=within)
    for name, plain in own[-1].after.items():
        assert not np.allclose(steps[-1].after[name], plain, rtol=0, atol=1e-6)
    return own


def require_told_losses(worker: Worker, target: Path) -> None:
    """Three epochs of seven batches: what is told is the mean of what the loop itself has noted
    beside its script, loss and rows of each batch, in a file `.losses`."""
    told: list[Mapping[str, float]] = []
    worker.pair_train(WholeRun(None, 7), on_epoch=told.append)
    noted = json.loads(target.with_suffix(".losses").read_text(encoding="utf-8"))
    epochs = np.array(noted).reshape(3, 7, 2)
    means = (epochs[..., 0] * epochs[..., 1]).sum(1) / epochs[..., 1].sum(1)
    assert [numbers["loss"] for numbers in told] == pytest.approx(means, rel=1e-5)
    assert not target.with_suffix(".after").exists()
    worker.pair_train(WholeRun(2, 7), on_epoch=told.append)
    assert len(told) == 3 + 2
