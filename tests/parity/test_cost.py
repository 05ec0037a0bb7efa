"""The histories of whole training runs, and what they come to in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mnist_mlp.data import Dataset
from mnist_mlp.errors import UserCodeError
from mnist_mlp.parity.check.cost import light, of_port, run_freely
from mnist_mlp.parity.check.side import setting
from mnist_mlp.parity.cost import Cost, TrainedRun, history
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.spec import parse_spec

A = TrainedRun(side="a", label="a.py", history=history([{"loss": 3.0}, {"loss": 0.5, "mae": 0.1}]))


def test_a_history_has_a_column_for_each_number() -> None:
    """What is not finite, or missing in an epoch, is none: strict JSON has no NaN."""
    found = history([{"loss": float("nan")}, {"loss": 2.0, "val_loss": 1.0}])
    assert found == {"loss": (None, 2.0), "val_loss": (None, 1.0)}
    cost = Cost(runs=(TrainedRun(side="a", label="a", history=found), A))
    assert Cost.model_validate(json.loads(json.dumps(cost.model_dump(mode="json")))) == cost
    assert (A.epochs, A.last("loss"), A.last("mae"), A.last("val_loss")) == (2, 0.5, 0.1, None)


def test_the_costs_are_told_by_what_both_have() -> None:
    b = TrainedRun(side="b", label="b.py", history=history([{"loss": 9.0, "val_loss": 8.0}]))
    assert list(Cost(runs=(A, b)).sentences) == [
        "loss: 0.5 in a.py after 2 epochs, 9 in b.py after 1 epoch"
    ]
    ended = b.model_copy(update={"problem": "b.py:3: ValueError: no"})
    assert next(iter(Cost(runs=(ended, ended)).sentences)).startswith("validation loss: 8 in b.py")
    assert list(Cost(runs=(A, ended)).sentences)[-1] == (
        "b.py was not trained to its end: b.py:3: ValueError: no"
    )


class Trains:
    """A worker whose port reaches an accuracy by its start alone."""

    def train_port(self, plan: Any, data: Any, *, seed: int, native: bool, on_epoch: Any) -> float:
        for number in range(plan.spec.training.epochs):
            on_epoch({"loss": 1.0 / (number + 1)})
        return 0.25 if native else 0.75

    def pair_train(self, run: WholeRun, *, on_epoch: Any) -> None:
        on_epoch({"loss": 1.0})
        raise UserCodeError("port.py:3: ValueError: no")


def test_a_dense_port_stands_beside_exact_training() -> None:
    spec = parse_spec(
        {
            "model": {"layer_sizes": [30, 9, 4]},
            "optimizer": {"learning_rate": 0.5},
            "training": {"batch_size": 32, "epochs": 3},
        }
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400).astype(np.uint8)
    images = rng.integers(0, 120, (400, 6, 5)).astype(np.uint8)
    images[np.arange(400), labels] += 120  # a bright row tells the class
    data = Dataset(name="idx", source="made up", images=images, labels=labels, classes=4)
    given = setting(spec, data)
    worker: Any = Trains()
    said: list[str] = []
    cost = of_port(worker, given, original=None, say=said.append)
    assert (cost.as_it_is, cost.with_specified_start) == (0.25, 0.75)
    exact, own, planned = cost.runs
    assert (exact.side, own.side, planned.side) == ("a", "b", "b")
    assert set(exact.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    losses = exact.history["loss"]
    assert losses[0] == pytest.approx(np.log(4), abs=0.3)  # four classes, hardly trained
    assert losses[0] > losses[1] > losses[2]  # type: ignore[operator]
    assert exact.last("val_loss") == pytest.approx(losses[2], rel=0.1)
    assert own.history == planned.history == {"loss": (1.0, 0.5, pytest.approx(1 / 3))}
    (sentence,) = cost.sentences
    assert sentence == (
        "accuracy after 3 epochs: 0.2500 from the port's own initial weights, 0.7500 from the "
        "specified ones"
    )
    beside = of_port(worker, given, original=("build.py:net", worker), say=said.append)
    assert next(run.label for run in beside.runs) == "build.py:net"


def test_an_error_of_the_users_keeps_what_came_before() -> None:
    worker: Any = Trains()
    run = run_freely("b", "port.py", worker, WholeRun(3), lambda _: None)
    assert (run.history, run.problem) == ({"loss": (1.0,)}, "port.py:3: ValueError: no")


def test_rows_are_sent_in_float32() -> None:
    rows = light(PairRows(np.ones((4, 3)), np.arange(4), 2), batch_size=3)
    assert isinstance(rows.x, np.ndarray)
    assert (rows.x.dtype, rows.y.dtype, rows.batch_size) == (np.float32, np.int64, 3)
