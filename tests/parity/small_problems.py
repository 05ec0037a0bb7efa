"""A small classification problem, specifications for it, and a look at one side's steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
from numpy_side import NumpySide, Switched

from mnist_mlp.contract import State, TrainingData
from mnist_mlp.data.dataset import Dataset
from mnist_mlp.parity.causes.explain import Explanation, explain
from mnist_mlp.parity.compare.replay import judged_steps
from mnist_mlp.parity.findings import Break, JudgedStep
from mnist_mlp.parity.steps import arbiter
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.sampling import windows
from mnist_mlp.parity.steps.stress import Stress, stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.plan import Plan, make_plan, training_data
from mnist_mlp.spec import Spec, parse_spec
from mnist_mlp.worker.parent import Worker

SIDE = 12
CLASSES = 10


@cache
def made_up(rows: int = 412) -> Dataset:
    """Blurred strokes on black, 12 x 12 pixels, 10 classes, all greys; a border that stays 0."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, CLASSES, rows).astype(np.uint8)
    strokes = rng.random((CLASSES, SIDE - 4, SIDE - 4)) < 0.35
    images = np.zeros((rows, SIDE, SIDE), np.uint8)
    ink = strokes[labels] * rng.uniform(0.5, 1, strokes[labels].shape)
    ink = np.maximum(ink, 0.35 * np.roll(ink, 1, axis=2))
    ink *= rng.random(ink.shape) < 0.9
    images[:, 2:-2, 2:-2] = np.round(255 * ink)
    images[:, 2, 2] = 255
    return Dataset(name="idx", source="made up", images=images, labels=labels, classes=CLASSES)


def spec_of(
    hidden: str | list[str] = "sigmoid",
    *,
    sizes: tuple[int, ...] = (20, 14),
    seed: int = 42,
    batch_size: int = 32,
    epochs: int = 3,
    precision: str = "float32",
    **optimizer: Any,
) -> Spec:
    """309 training rows: nine batches of 32 and one of 21 an epoch, 30 steps in all."""
    names = [hidden] * len(sizes) if isinstance(hidden, str) else hidden
    return parse_spec(
        {
            "name": "small",
            "seed": seed,
            "model": {
                "layer_sizes": [SIDE * SIDE, *sizes, CLASSES],
                "activations": [*names, "softmax"],
            },
            "optimizer": {"learning_rate": 0.1, **optimizer},
            "training": {"batch_size": batch_size, "epochs": epochs, "precision": precision},
        }
    )


@dataclass(frozen=True, eq=False)
class Problem:
    """A specification with everything that both sides are given."""

    plan: Plan
    data: TrainingData
    spans: list[range]
    states: dict[int, State]
    stress: Stress

    @property
    def recipe(self) -> Recipe:
        """The specification's own."""
        spec = self.plan.spec
        return Recipe(spec, arbiter.eps_of(spec.training.precision), (SIDE, SIDE))

    def steps(self, side: NumpySide | Switched) -> list[JudgedStep]:
        """What a side makes of every judged step, the stress batch last."""
        worker = cast(Worker, side)
        return judged_steps(
            worker,
            self.plan,
            self.data,
            windows=self.spans,
            states=self.states,
            stress=self.stress,
        )


_PROBLEMS: dict[str, Problem] = {}


def problem(spec: Spec) -> Problem:
    """Drawn and run by the reference once for each specification."""
    if spec.digest not in _PROBLEMS:
        plan = make_plan(spec, made_up())
        data = training_data(plan, made_up())
        spans = windows(plan)
        asked = [step for span in spans for step in span]
        states = ReferenceRun(plan, data).states(asked)
        _PROBLEMS[spec.digest] = Problem(plan, data, spans, states, stress_batch(plan, data))
    return _PROBLEMS[spec.digest]


def look_at(side: NumpySide | Switched, spec: Spec) -> Explanation:
    """What the checker says of a side's steps."""
    given = problem(spec)
    return explain(given.recipe, given.steps(side), side="b")


Told = tuple[str, str, int | None, int | None, str | None]


def told(item: Break) -> Told:
    """Cause, rung, step, layer and tensor of a break."""
    return item.cause.name, item.rung, item.step, item.layer, item.tensor


def breaks_of(spec: Spec, **links: Any) -> list[Told]:
    """Everything the checker names about a side with some links replaced."""
    return [told(item) for item in look_at(NumpySide(spec, **links), spec).breaks]


def only_break(spec: Spec, **links: Any) -> Break:
    """The one break of a side with some links replaced."""
    found = look_at(NumpySide(spec, **links), spec).breaks
    assert len(found) == 1, [(told(item), item.cause.value) for item in found]
    return found[0]
