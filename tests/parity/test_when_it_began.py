"""A fault that begins in the middle is named at its own step, between the judged windows."""

from __future__ import annotations

import itertools
from typing import Any, cast

import numpy as np
import pytest
import wrong_losses as wrong
from numpy_side import NumpySide, Switched, sgd
from small_problems import SIDE, Problem, problem, spec_of

from mnist_mlp.parity.causes.explain import explain
from mnist_mlp.parity.compare.side import Shared, _closer
from mnist_mlp.parity.findings import Break
from mnist_mlp.parity.steps.sampling import between, merged, place, windows
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.spec import Spec
from mnist_mlp.worker.parent import Worker

LONG = spec_of(epochs=12, learning_rate=0.05)  # 120 steps


def shared_by(given: Problem) -> Shared:
    return Shared(
        exact=ReferenceRun(given.plan, given.data),
        image_shape=(SIDE, SIDE),
        windows=given.spans,
        stress=given.stress,
    )


def first_of(side: Switched, spec: Spec) -> tuple[Break, list[int]]:
    """The first break after the closer look, and the steps that were judged for it."""
    given = problem(spec)
    steps = given.steps(side)
    seen = explain(given.recipe, steps, side="a")
    assert seen.breaks
    closer = _closer(cast(Worker, side), shared_by(given), steps, seen)
    judged = [step.step for step in closer if not step.stress]
    return explain(given.recipe, closer, side="a").breaks[0], judged


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "rate": ({"update": sgd(lambda n, w, g, s: g, factor=1.01)}, "update", "undeclared_schedule"),
    "decay": (
        {"update": sgd(lambda n, w, g, s: g + s.dtype(1e-2) * w)},
        "update",
        "unknown",
    ),
    "loss": ({"loss": wrong.mean_of(wrong.smoothed(0.1))}, "loss", "unknown"),
    "noise": (
        {"gradient": lambda g, s: {n: t + np.float32(1e-4) for n, t in g.items()}},
        "gradient",
        "unknown",
    ),
}


@pytest.mark.parametrize(
    ("name", "step"),
    [("noise", 2), ("noise", 57), ("noise", 119), ("loss", 57), ("rate", 57), ("rate", 58),
     ("decay", 5), ("decay", 57)],
)  # fmt: skip
def test_the_step_is_exact(name: str, step: int) -> None:
    links, rung, cause = FAULTS[name]
    side = Switched(NumpySide(LONG), NumpySide(LONG, **links), at=step)
    found, judged = first_of(side, LONG)
    assert (found.rung, found.step) == (rung, step)
    assert found.epoch == (step - 1) // 10 + 1
    assert step - 1 in judged
    assert found.cause.name == cause
    assert len(judged) < 70


class LastOfEachEpoch:
    """The smaller batch alone is summed where others are averaged."""

    def __init__(self, spec: Spec) -> None:
        self.right = NumpySide(spec)
        self.wrong = NumpySide(spec, loss=wrong.sum_of(wrong.cross_entropy))

    def step(self, state: Any, images: Any, labels: Any) -> Any:
        side = self.wrong if len(labels) < 32 else self.right
        return side.step(state, images, labels)


def test_a_fault_of_the_last_batch_is_found_in_the_first_epoch() -> None:
    found, _ = first_of(cast(Switched, LastOfEachEpoch(LONG)), LONG)
    assert (found.rung, found.epoch, found.step) == ("loss", 1, 10)


# --- Windows --------------------------------------------------------------------------------------


def test_windows_cover_what_matters() -> None:
    spec = spec_of(epochs=12, momentum=0.9, schedule=[[41, 0.01], [77, 0.1]])
    spans = windows(problem(spec).plan)
    judged = {step for span in spans for step in span}
    assert {1, 2, 3, 10, 11, 12, 40, 41, 77, 118, 119, 120} <= judged
    assert all(len(span) >= 3 for span in spans)
    assert all(a.stop < b.start for a, b in itertools.pairwise(spans))
    assert max(judged) == 120


def test_windows_of_short_runs() -> None:
    assert windows(problem(spec_of(batch_size=309, epochs=1)).plan) == [range(1, 2)]
    assert windows(problem(spec_of(batch_size=309, epochs=2)).plan) == [range(1, 3)]


def test_spans() -> None:
    assert merged([(5, 8), (1, 4), (7, 9), (0, 2), (20, 30)], last=25) == [
        range(1, 4),
        range(5, 9),
        range(20, 26),
    ]
    assert between(10, 14) == [range(11, 15)]
    closer = between(10, 1000)
    assert closer[0].start == 11
    assert closer[-1].stop <= 1001
    assert [len(span) for span in closer] == [3] * 8


def test_places() -> None:
    plan = problem(LONG).plan
    assert [place(plan, step) for step in (1, 10, 11, 120)] == [(1, 0), (1, 9), (2, 0), (12, 9)]
