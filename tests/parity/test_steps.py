"""Judged steps, their order, and the recipe that they are judged by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import pytest
from numpy_side import NumpySide
from small_problems import problem, spec_of

from mnist_mlp.parity.causes.explain import LINKS, OF_NO_RUNG
from mnist_mlp.parity.check.steps import Setting, look_at_steps
from mnist_mlp.parity.findings import STEP_RUNGS
from mnist_mlp.parity.steps.arbiter import Expected, unjudged
from mnist_mlp.parity.steps.drift import honest_run
from mnist_mlp.parity.steps.judge import moments
from mnist_mlp.parity.steps.recipe import Recipe
from mnist_mlp.parity.steps.trajectory import ReferenceRun
from mnist_mlp.ports.protocol import PortJob, PortStep

SPEC = spec_of(epochs=2)


# --- Steps ----------------------------------------------------------------------------------------


class PortWorker:
    """Answers a port's job with the steps of a plain NumPy side, the stress batch last."""

    def fit_port(self, job: PortJob, *, on_step: Any, on_epoch: Any) -> None:
        given = problem(SPEC)
        for step in given.steps(NumpySide(SPEC)):
            on_step(PortStep(None if step.stress else step.step, step.record))


def test_the_stress_batch_has_epoch_and_step_0() -> None:
    given = problem(SPEC)
    exact, honest = ReferenceRun(given.plan, given.data), honest_run(given.plan, given.data)
    setting = Setting(exact, honest, given.recipe)
    ran, explained, _ = look_at_steps(cast(Any, PortWorker()), setting, "b")
    assert explained.breaks == ()
    for steps in (given.steps(NumpySide(SPEC)), ran.steps):
        *others, last = steps
        assert (last.stress, last.epoch, last.step) == (True, 0, 0)
        assert not any(step.stress for step in others)
        assert min(step.step for step in others) == 1


def test_moments_hold_the_steps_before_in_the_same_window() -> None:
    steps = problem(SPEC).steps(NumpySide(SPEC))
    rng = np.random.default_rng(0)
    shuffled = [steps[i] for i in rng.permutation(len(steps))]
    found = moments(shuffled)
    assert [moment.now for moment in found] == steps
    for moment in found:
        window = [s for s in steps if s.window == moment.now.window and not s.stress]
        before = [] if moment.now.stress else [s for s in window if s.step < moment.step]
        assert list(moment.before) == before
    assert max(len(moment.before) for moment in found) >= 2


def test_moments_of_the_same_steps_are_sorted_once() -> None:
    steps = problem(SPEC).steps(NumpySide(SPEC))
    first = moments(steps)
    assert moments(list(steps)) is first
    steps[0] = replace(steps[0], epoch=7)
    assert moments(steps)[0].now.epoch == 7


# --- What is not judged ---------------------------------------------------------------------------


def test_what_is_not_judged_stays_so() -> None:
    one = unjudged(np.array([1.0, 2.0]))
    assert not one.is_judged
    assert not Expected(3 * one.value, one.terms + 5).is_judged
    assert Expected(one.value, np.array([1.0, np.inf])).is_judged


# --- The links of a recipe ------------------------------------------------------------------------


def unplaced(recipe: type[Recipe]) -> list[str]:
    """Fields that belong to no rung, or to several."""
    places = Counter([*(link for links in LINKS.values() for link in links), *OF_NO_RUNG])
    return [field.name for field in fields(recipe) if places[field.name] != 1]


def test_every_field_of_a_recipe_belongs_to_one_rung() -> None:
    assert tuple(LINKS) == STEP_RUNGS
    assert unplaced(Recipe) == []
    known = {field.name for field in fields(Recipe)}
    assert known == {link for links in LINKS.values() for link in links} | OF_NO_RUNG.keys()


def test_a_new_field_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, eq=False)
    class Longer(Recipe):
        label_smoothing: float = 0.0

    assert unplaced(Longer) == ["label_smoothing"]
    monkeypatch.setitem(LINKS, "loss", (*LINKS["loss"], "label_smoothing", "pixels"))
    assert unplaced(Longer) == ["pixels"]
