"""Whole training runs of both sides, as their users would run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnist_mlp.errors import UsageError, UserCodeError
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.cost import Cost, TrainedRun, history
from mnist_mlp.parity.findings import Side
from mnist_mlp.parity.pair.feed import DATASET, DRAWN, Fed, Share
from mnist_mlp.plan import Plan
from mnist_mlp.ports.inputs import each
from mnist_mlp.ports.pair_rows import PairRows, WholeRun
from mnist_mlp.ports.pair_side import PairBrought
from mnist_mlp.ports.protocol import PortDescription
from mnist_mlp.reference import forward, sample_losses, scale_pixels
from mnist_mlp.worker.parent import Worker

Say = Callable[[str], None]
Numbers = list[Mapping[str, float]]

EXACT = "the specification, in exact arithmetic"
OWN, SPECIFIED = "the port, from its own initial weights", "the port, from the specified ones"
"""Labels of the runs of a dense network."""


def of_port(
    worker: Worker, given: Setting, *, original: tuple[str, Worker] | None, say: Say
) -> Cost:
    """The port of a dense network from its own start and from the plan's, beside the specification
    or, if there is one, the `original`, with its label."""
    first = _exact(given) if original is None else _of_original(*original, given, say)
    own, as_it_is = _trained(worker, given, native=True, label=OWN, side="b", say=say)
    planned, specified = _trained(worker, given, native=False, label=SPECIFIED, side="b", say=say)
    return Cost(as_it_is=as_it_is, with_specified_start=specified, runs=(first, own, planned))


def _of_original(label: str, worker: Worker, given: Setting, say: Say) -> TrainedRun:
    return _trained(worker, given, native=True, label=label, side="a", say=say)[0]


def _trained(
    worker: Worker, given: Setting, *, native: bool, label: str, side: Side, say: Say
) -> tuple[TrainedRun, float]:
    say(f"training {label}")
    numbers: Numbers = []
    seed = given.plan.spec.seed
    accuracy = worker.train_port(
        given.plan, given.data, seed=seed, native=native, on_epoch=numbers.append
    )
    return TrainedRun(side=side, label=label, history=history(numbers)), accuracy


def epoch_ends(given: Setting) -> list[int]:
    """The first step after each epoch."""
    plan = given.plan
    return [n * plan.steps_per_epoch + 1 for n in range(1, plan.spec.training.epochs + 1)]


def _exact(given: Setting) -> TrainedRun:
    """The reference's own run."""
    plan, data = given.plan, given.data
    ends = epoch_ends(given)
    states = given.exact.states(ends)
    x = scale_pixels(data.test_images, dtype=np.float64)
    numbers: Numbers = []
    for end, epoch in zip(ends, given.exact.epochs(len(ends)), strict=True):
        weights = {name: w.astype(np.float64) for name, w in states[end].weights.items()}
        logits = forward(weights, plan.spec.model.activations, x).logits
        rows = epoch.rows.sum()
        numbers.append(
            {
                "loss": float((epoch.losses * epoch.rows).sum() / rows),
                "accuracy": float(epoch.correct.sum() / rows),
                "val_loss": float(sample_losses(logits, data.test_labels).mean()),
                "val_accuracy": float((logits.argmax(axis=1) == data.test_labels).mean()),
            }
        )
    return TrainedRun(side="a", label=EXACT, history=history(numbers))


# --- Pairs ----------------------------------------------------------------------------------------


def run_freely(side: Side, label: str, worker: Worker, run: WholeRun, say: Say) -> TrainedRun:
    """One side of a pair, from its own initial weights; what it did before an error is kept."""
    say(f"training {label}")
    numbers: Numbers = []
    problem = ""
    try:
        worker.pair_train(run, on_epoch=numbers.append)
    except (UsageError, UserCodeError) as error:
        problem = str(error)
    return TrainedRun(side=side, label=label, history=history(numbers), problem=problem)


def light(rows: PairRows, *, batch_size: int) -> PairRows:
    """In float32, as training takes them."""

    def single(a: np.ndarray) -> np.ndarray:
        return a.astype(np.float32) if a.dtype.kind == "f" else a

    return replace(rows, x=each(single, rows.x), y=each(single, rows.y), batch_size=batch_size)


def whole_runs(
    brought: Sequence[PairBrought],
    described: Sequence[PortDescription],
    source: str,
    chosen: tuple[int, int],
    rows: Callable[[Share], Fed | None],
    plan: Plan,
) -> list[WholeRun]:
    """What each side is told for its whole training; a side that brings no data is given rows."""
    trains = [side.own is not None and bool(side.own.epochs) for side in brought]
    training = None if all(trains) or source == DRAWN else rows(Share.TRAINING)
    held_out = rows(Share.HELD_OUT) if training is not None and source == DATASET else None
    runs = []
    for side, (own, at) in enumerate(zip(brought, chosen, strict=True)):
        size = own.batch_size or plan.spec.training.batch_size
        given = [
            light((fed.a, fed.b)[side][at], batch_size=size)
            if fed is not None and not trains[side]
            else None
            for fed in (training, held_out)
        ]
        runs.append(
            WholeRun(
                own.epochs or (None if described[side].loop else plan.spec.training.epochs),
                len(own.own.epochs[0].sizes) if own.own is not None and own.own.epochs else None,
                *given,
            )
        )
    return runs


def labels_of(texts: Sequence[str]) -> list[str]:
    """Labels of the two sides, which may be one file."""
    same = len(set(texts)) < len(texts)
    whose = ("the original", "the port")
    return [f"{w}, {t}" if same else t for w, t in zip(whose, texts, strict=True)]
