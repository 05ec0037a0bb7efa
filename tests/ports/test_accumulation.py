"""Updates of several batches: loops in torch, Lightning and Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from loop_steps import script

from mnist_mlp.errors import UsageError
from mnist_mlp.ports.draws import Draw
from mnist_mlp.ports.pair import Forced, Mend, PairJob
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.parts import SHARED, draws_of, joined, joined_draws
from mnist_mlp.worker.parent import Worker

Workers = Callable[[str], Worker]

RNG = np.random.default_rng(0)
ROWS = PairRows(RNG.normal(size=(24, 4)), RNG.normal(size=(24, 1)), 12)

HEAD = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
x, y = torch.randn(NUMBER, 4), torch.randn(NUMBER, 1)
loader = DataLoader(TensorDataset(x, y), batch_size=8)
net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss_of = nn.MSELoss()
net(x[:2])  # not a step, though it takes gradients
made = 0

for epoch in range(3):
    BEGIN
    for i, (a, b) in enumerate(loader):
        loss = loss_of(net(a), b) / DIVISOR
        loss.backward()
        made += 1
        if WHEN:
            optimizer.step()
            optimizer.zero_grad()
"""


def loop(
    *, rows: int = 48, begin: str = "pass", when: str = "(i + 1) % 3 == 0", divisor: str = "3"
) -> str:
    parts = {"NUMBER": str(rows), "BEGIN": begin, "WHEN": when, "DIVISOR": divisor}
    text = HEAD
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


def described(worker: Worker, target: str) -> int:
    worker.describe_port(target)
    return worker.pair_brought(np.zeros((1, 4), np.uint8), np.zeros(1)).accumulated


def forward(weights: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    hidden = np.tanh(x @ weights["0/kernel"] + weights["0/bias"])
    return np.asarray(hidden @ weights["2/kernel"] + weights["2/bias"])


def test_a_step_is_the_update_of_all_of_its_batches(tmp_path: Path, workers: Workers) -> None:
    worker = workers("torch")
    assert described(worker, script(tmp_path, loop())) == 3
    facts = worker.pair_open([ROWS], precision="float64")
    assert (facts.accumulated, facts.rest) == (3, "")
    steps = worker.pair_fit(PairJob(ROWS, 2))
    assert len(steps) == 4
    assert isinstance(ROWS.x, np.ndarray)
    for number, step in enumerate(steps):
        rows = list(ROWS.rows_of(number))
        assert np.array_equal(step.inputs[0], ROWS.x[rows])
        apart = forward(step.before, ROWS.x[rows]) - ROWS.y[rows]
        assert step.loss == pytest.approx((apart**2).mean(), rel=1e-12)
        bias = 2 * apart.mean()
        assert step.gradients["2/bias"] == pytest.approx(bias, rel=1e-9)
        for name, gradient in step.gradients.items():
            assert np.allclose(step.after[name], step.before[name] - 0.1 * gradient, atol=1e-15)
    for before, after in pairwise(steps):
        assert np.array_equal(before.after["0/kernel"], after.before["0/kernel"])


def test_gradients_that_are_not_cleared_show_in_the_next_update(
    tmp_path: Path, workers: Workers
) -> None:
    """And are gone when an experiment clears them; given gradients are those of the update."""
    worker = workers("torch")
    text = loop().replace("            optimizer.zero_grad()\n", "")
    described(worker, script(tmp_path, text))
    worker.pair_open([ROWS], precision="float64")
    own = worker.pair_fit(PairJob(ROWS, 1))
    given = {name: np.ones_like(g) for name, g in own[0].gradients.items()}
    forced = tuple(Forced(step.before, given) for step in own)
    plain = worker.pair_fit(PairJob(ROWS, 1, forced))
    cleared = worker.pair_fit(PairJob(ROWS, 1, forced, (Mend(None, "cleared"),)))
    for name, ones in given.items():
        assert np.allclose(plain[1].gradients[name], cleared[1].gradients[name] + ones)
        assert np.allclose(cleared[0].after[name], own[0].before[name] - 0.1)


LAST = "(i + 1) % 3 == 0 or i + 1 == len(loader)"
MEAN = "(3 if i < 3 else len(loader) - 3)"


@pytest.mark.parametrize(
    ("text", "rest", "weights"),
    [
        (loop(rows=40), "added", [1 / 3] * 2),
        (loop(rows=40, begin="optimizer.zero_grad()"), "dropped", [1 / 3] * 2),
        (loop(rows=40, when="made % 3 == 0"), "later", [1 / 3] * 2),
        (loop(rows=40, when=LAST), "update", [1 / 3] * 2),
        (loop(rows=40, when=LAST, divisor=MEAN), "update", [1 / 2] * 2),
        (loop(rows=44), "update", [1 / 3] * 3),
        (loop(rows=36, when=LAST, divisor="(3 * 8 / len(a))"), "update", [1 / 3, 1 / 6]),
        (loop(rows=40, when="i == 2 or i == 3"), "", []),
        (loop(rows=48), "", []),
    ],
    ids=[
        *("added", "dropped", "later", "update", "own mean", "smaller", "by rows"),
        *("otherwise", "none"),
    ],
)
def test_what_becomes_of_the_last_batches_of_an_epoch(
    text: str, rest: str, weights: list[float], tmp_path: Path, workers: Workers
) -> None:
    worker = workers("torch")
    described(worker, script(tmp_path, text))
    facts = worker.pair_open([ROWS], precision="float32")
    assert facts.rest == rest
    assert facts.rest_weights == pytest.approx(weights, rel=1e-5)


def test_updates_of_other_numbers_of_batches_are_refused(tmp_path: Path, workers: Workers) -> None:
    worker = workers("torch")
    described(worker, script(tmp_path, loop(when="made in (3, 5, 6, 7, 9)")))
    with pytest.raises(UsageError, match="an update of 3 batches at first, and of another number"):
        worker.pair_open([ROWS], precision="float64")
        worker.pair_fit(PairJob(ROWS, 2))


def test_two_calls_of_backward_for_one_batch_are_no_accumulation(
    tmp_path: Path, workers: Workers
) -> None:
    text = loop().replace(
        "loss.backward()", "loss.backward(retain_graph=True)\n        loss.backward()"
    )
    with pytest.raises(UsageError, match="calls backward 6 times for its first update, and not"):
        workers("torch").describe_port(script(tmp_path, text))


KERAS = """
import keras
import numpy as np

rng = np.random.default_rng(1)
x, y = rng.normal(size=(48, 4)).astype("float32"), rng.normal(size=(48, 1)).astype("float32")

def build():
    hidden = keras.layers.Dense(3, "tanh")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1)])
    model.layers[0].set_weights([x[:4, :3], x[5, :3]])
    model.layers[1].set_weights([x[6:7, :3].T, x[7, :1]])
    optimizer = keras.optimizers.Adam(0.1, clipnorm=0.3, gradient_accumulation_steps=3)
    model.compile(optimizer, "mse")
    return {"model": model, "fit": {"x": x, "y": y, "batch_size": 4, "shuffle": False, "epochs": 3}}
"""


def test_the_updates_of_keras_are_those_of_its_own_training(
    tmp_path: Path, workers: Workers
) -> None:
    """The losses of epochs that follow from the updates before, with Keras's own accumulators."""
    worker = workers("keras")
    path = script(tmp_path, KERAS, "original.py")
    assert described(worker, f"{path}:build") == 3
    rng = np.random.default_rng(1)
    x = rng.normal(size=(48, 4)).astype(np.float32).astype(np.float64)
    y = rng.normal(size=(48, 1)).astype(np.float32).astype(np.float64)
    rows = PairRows(x, y, 12)
    facts = worker.pair_open([rows], precision="float64")
    assert (facts.accumulated, facts.rest) == (3, "later")
    steps = worker.pair_fit(PairJob(rows, 3))
    assert len(steps) == 12
    told: list[float] = []
    worker.pair_train(WholeRun(3, 12), on_epoch=lambda numbers: told.append(numbers["loss"]))
    means = [np.mean([step.loss for step in steps[k : k + 4]]) for k in (0, 4, 8)]
    assert told == pytest.approx(means, rel=1e-4)
    assert abs(means[0] - means[2]) > 1e-3


def test_parts_are_joined_by_rows_and_draws_cut_by_them() -> None:
    x, z = RNG.normal(size=(6, 2)), RNG.normal(size=(5, 6, 2))
    both = joined([{0: x[:3], 1: z[:, :3]}, {0: x[3:], 1: z[:, 3:]}], 3)
    assert np.array_equal(both[0], x)
    assert np.array_equal(both[1], z)
    loss = joined([{0: np.array(1.0)}, {0: np.array(2.0)}], 3)[0]
    assert loss == 1.5
    draws = (Draw(x > 0, 0.5), Draw(x[0] > 0, 0.5))
    cut = [draws_of(draws, part, 2, 6) for part in (0, 1)]
    assert [unseen for _, unseen in cut] == [(SHARED,), (SHARED,)]
    again, unseen = joined_draws([each for each, _ in cut], 3)
    assert np.array_equal(again[0].keep, draws[0].keep)
    assert not unseen
    assert joined_draws([draws[:1], ()], 3) == ((), (SHARED,))
