"""The judge of single steps on numbers that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import exp, log, sqrt
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy_side import NumpySide
from small_problems import made_up, problem, spec_of

from mnist_mlp.contract import State
from mnist_mlp.parity.findings import Finding
from mnist_mlp.parity.steps import arbiter, coefficients, drift, judge, shapes, trajectory
from mnist_mlp.parity.steps.arbiter import Expected, ForwardValues, OtherActivation, unjudged
from mnist_mlp.parity.steps.coefficients import Fit, fit, relative_slack
from mnist_mlp.parity.steps.memory import is_own, memory_of
from mnist_mlp.parity.steps.recipe import entering
from mnist_mlp.parity.steps.sampling import between, merged, place, windows
from mnist_mlp.parity.steps.stress import STRESS_GAP, stress_batch
from mnist_mlp.parity.steps.trajectory import ReferenceRun, batch_of
from mnist_mlp.plan import Plan, make_plan, stream, training_data
from mnist_mlp.reference import activate, clip_by_global_norm, forward, scale_pixels
from mnist_mlp.spec import OptimizerSpec

SPEC = spec_of(name="adam", learning_rate=0.01, epochs=2)
GIVEN = problem(SPEC)
STEPS = GIVEN.steps(NumpySide(SPEC))
MOMENT = judge.moments(STEPS)[0]


# --- Which steps are judged -----------------------------------------------------------------------


def windows_of(schedule: tuple[tuple[int, float], ...] = ()) -> list[range]:
    """Of six epochs of ten steps."""
    optimizer = OptimizerSpec(schedule=schedule)
    spec = SimpleNamespace(training=SimpleNamespace(epochs=6), optimizer=optimizer)
    return windows(cast(Plan, SimpleNamespace(steps_per_epoch=10, spec=spec)))


def test_windows() -> None:
    """At 1, 8, 10 and 11, and from 1 + 57/4, 1 + 57/2, 1 + 3 * 57/4 and 58 on, rounded."""
    plain = [
        range(1, 4), range(8, 14), range(15, 18), range(30, 33), range(44, 47), range(58, 61),
    ]  # fmt: skip
    assert windows_of() == plain
    # Only the first four changes, each with the step before it.
    changes = ((25, 0.1), (26, 0.2), (40, 0.3), (51, 0.4), (56, 0.5))
    assert windows_of(changes) == [
        *plain[:3], range(24, 28), plain[3], range(39, 42), plain[4], range(50, 53), plain[5],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(5, 8), (1, 3)], [range(1, 3), range(5, 8)]),
        ([(1, 3), (3, 5)], [range(1, 5)]),
        ([(1, 9), (2, 3)], [range(1, 9)]),
        ([(1, 3), (5, 7), (6, 9)], [range(1, 3), range(5, 9)]),
        ([(-5, 0), (-1, 2), (4, 5)], [range(1, 2), range(4, 5)]),
        ([(9, 20), (11, 14)], [range(9, 11)]),
    ],
)
def test_spans_are_cut_and_joined(spans: list[tuple[int, int]], expected: list[range]) -> None:
    assert merged(spans, last=10) == expected


def test_windows_between_a_clean_step_and_a_broken_one() -> None:
    assert between(10, 20) == [range(11, 21)]
    for gap in range(1, 25):
        assert between(7, 7 + gap) == [range(8, 8 + gap)]
    assert between(100, 900) == [range(start, start + 3) for start in range(101, 900, 100)]
    assert between(100, 900, rounds=2) == [range(101, 104), range(501, 504)]


def test_place_and_batch_of_a_step() -> None:
    per_epoch = GIVEN.plan.steps_per_epoch
    assert place(GIVEN.plan, 1) == (1, 0)
    assert place(GIVEN.plan, per_epoch) == (1, per_epoch - 1)
    assert place(GIVEN.plan, per_epoch + 1) == (2, 0)
    images, labels = batch_of(GIVEN.plan, GIVEN.data, per_epoch + 2)
    rows = GIVEN.plan.order(2)[32:64]
    np.testing.assert_array_equal(images, GIVEN.data.train_images[rows])
    np.testing.assert_array_equal(labels, GIVEN.data.train_labels[rows])


# --- Between judged steps -------------------------------------------------------------------------

ONE = {"w": np.ones(4), "b": np.zeros(2)}


def apart(gap: float, honest: float, *, precision: str = "float32") -> float:
    moved = {"w": np.ones(4) + gap, "b": np.zeros(2)}
    near = {"w": np.ones(4) + honest, "b": np.zeros(2)}
    return drift.distance(moved, ONE, near, precision=precision)


def test_distances_are_in_units_of_an_honest_run() -> None:
    assert apart(3e-6, 1e-6) == pytest.approx(3)
    assert apart(-3e-6, 1e-6) == pytest.approx(3)
    # One that is equal by luck counts as a quarter of a rounding away...
    assert apart(2.0**-23, 0) == pytest.approx(4)
    # ... and in float64 as a thirtieth of what is always allowed.
    assert apart(1e-10, 0, precision="float64") == pytest.approx(drift.LIMIT)
    # A bias that stays 0 in float32 may not move at all.
    stays = {"b": np.zeros(2)}
    moved = {"b": np.float32([1e-20, 0])}
    assert drift.distance(moved, stays, stays, precision="float32") > drift.LIMIT
    assert apart(np.nan, 1e-6) == apart(np.inf, 1e-6) == np.inf


def test_the_worst_tensor_counts() -> None:
    near = {"w": np.ones(4) + 1e-6, "b": np.full(2, 1e-8)}
    got = {"w": np.ones(4) + 1e-6, "b": np.array([3e-8, -3e-8])}
    assert drift.distance(got, ONE, near, precision="float32") == pytest.approx(3)
    assert drift.rms(np.array([3, 4])) == pytest.approx(sqrt(12.5))
    assert drift.rms(np.array([100, -100], np.int8)) == 100
    assert drift.largest_gap({"a": np.float32([1, 5])}, {"a": np.array([1.5, 3.0])}) == 2


def test_weights_one_ulp_away() -> None:
    plan = GIVEN.plan
    moved = drift.one_ulp_away(plan, draw=3)
    assert replace(moved, initial_weights=plan.initial_weights).spec is plan.spec
    for number, name in enumerate(sorted(plan.initial_weights)):
        w, new = plan.initial_weights[name], moved.initial_weights[name]
        up = stream(plan.spec.seed, 2, 3, number).integers(0, 2, w.shape) == 1
        assert new.dtype == w.dtype
        np.testing.assert_array_equal(new > w, up)
        np.testing.assert_array_equal(np.nextafter(new, w), w)
        assert (new != w).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_honest_run_differs_by_roundings_only(precision: str) -> None:
    """In float64, where the reference is no better, by where it starts."""
    plan = problem(spec_of(precision=precision, epochs=2)).plan
    run = drift.honest_run(plan, GIVEN.data)
    first = run.states([1])[1].weights["layers.0.kernel"]
    start = plan if precision == "float32" else drift.one_ulp_away(plan, draw=0)
    np.testing.assert_array_equal(first, start.initial_weights["layers.0.kernel"])
    turned = drift.honest_run(plan, GIVEN.data, order=lambda epoch: plan.order(epoch)[::-1])
    last = plan.steps_per_epoch * 2 + 1
    exact = ReferenceRun(plan, GIVEN.data).states([last])[last].weights["layers.0.kernel"]
    assert (run.states([last])[last].weights["layers.0.kernel"] != exact).any()
    assert (
        turned.states([last])[last].weights["layers.0.kernel"]
        != run.states([last])[last].weights["layers.0.kernel"]
    ).any()


# --- Findings -------------------------------------------------------------------------------------


def found(rung: str, size: float, *, step: int = 1, stress: bool = False) -> Finding:
    return Finding(rung, 1, step, 0, "kernel", size, 0.0, 0.0, stress=stress)


@pytest.mark.parametrize(
    ("rung", "limit"),
    [("data", 1.6), ("forward", 8.0), ("loss", 4.0), ("gradient", 12.0), ("update", 3.0)],
)
def test_limits(rung: str, limit: float) -> None:
    assert not judge.is_broken(found(rung, limit))
    assert judge.is_broken(found(rung, limit * 1.001))
    assert judge.is_broken(found(rung, np.nan))
    assert not judge.is_broken(found(rung, 2 * limit), named=(rung,))
    assert judge.is_broken(found(rung, 2.001 * limit), named=(rung,))
    assert judge.is_broken(found(rung, 1.5 * limit), named=("other",))


def test_pixels_within_one_ulp_are_noted() -> None:
    sizes = (0.51, 0.52, 1.6, 1.61, np.nan)
    assert [judge.is_noted(found("data", size)) for size in sizes] == [0, 1, 1, 0, 0]
    assert not judge.is_noted(found("loss", 1.0))


def test_the_first_broken_is_that_of_the_first_step_and_rung() -> None:
    late = found("forward", 99, step=3)
    early = found("update", 99, step=2)
    first = found("loss", 99, step=2)
    stress = found("data", 99, step=0, stress=True)
    clean = found("data", 0.1, step=1)
    assert judge.first_broken([stress, late, early, first, clean]) is first
    assert judge.first_broken([clean, stress]) is stress
    assert judge.first_broken([clean]) is None
    assert judge.first_broken([found("loss", 5.0)], named=("loss",)) is None


def test_every_tensor_of_a_step_is_measured() -> None:
    slots = ("first_moment", "second_moment")
    expected = [("data", 0, "inputs")]
    for layer in range(2):
        expected += [("forward", layer, "pre_activation"), ("forward", layer, "activation")]
    expected += [("forward", 2, "logits"), ("loss", None, "loss")]
    for rung in ("gradient", "update"):
        for layer in range(3):
            for part in ("kernel", "bias"):
                expected.append((rung, layer, part))
                if rung == "update":
                    expected += [(rung, layer, f"{slot} of {part}") for slot in slots]
    findings = list(judge.judge_step(GIVEN.recipe, MOMENT))
    assert sorted(map(str, expected)) == sorted(str((f.rung, f.layer, f.tensor)) for f in findings)
    assert [f.rung for f in findings] == [rung for rung, *_ in expected]
    assert {(f.epoch, f.step, f.stress) for f in findings} == {(1, 1, False)}
    for rung in ("data", "forward", "loss", "gradient", "update"):
        muted = replace(GIVEN.recipe, muted=frozenset({rung}))
        left = [f.rung for f in judge.judge_step(muted, MOMENT)]
        assert left == [other for other, *_ in expected if other != rung]


def test_the_update_of_the_stress_batch_is_not_judged() -> None:
    last = judge.moments(STEPS)[-1]
    assert last.now.stress
    assert {f.rung for f in judge.judge_step(GIVEN.recipe, last)} == {
        "data", "forward", "loss", "gradient",
    }  # fmt: skip


def measured(got: Any, value: Any, terms: Any) -> Finding:
    given = Expected(np.asarray(value), np.asarray(terms))
    return judge._measure(GIVEN.recipe, MOMENT, "forward", 1, "activation", np.asarray(got), given)


def test_a_finding_is_the_worst_element() -> None:
    eps = GIVEN.recipe.eps
    value = np.array([[1.0, 2.0], [3.0, 4.0]])
    got = value + eps * np.array([[2.0, 0.0], [0.0, -9.0]])
    one = measured(got, value, [[1.0, 1.0], [1.0, 3.0]])
    assert (one.size, one.note) == (pytest.approx(3), "[1, 1]")
    assert (one.got, one.expected) == (got[1, 1], 4.0)
    scalar = measured(1 + 5 * eps, 1.0, 1.0)
    assert (scalar.size, scalar.note) == (pytest.approx(5), "")
    assert (scalar.rung, scalar.layer, scalar.tensor) == ("forward", 1, "activation")


def test_what_has_another_shape_or_is_not_judged() -> None:
    other = measured(np.zeros(3), np.zeros(2), np.ones(2))
    assert (other.size, other.note) == (np.inf, "shape (3,), expected (2,)")
    assert np.isnan([other.got, other.expected]).all()
    for judged in (unjudged(np.zeros(2)), Expected(np.zeros(0), np.zeros(0))):
        none = measured(np.zeros(len(judged.value)), judged.value, judged.terms)
        assert (none.size, none.note) == (0.0, judge.NOT_JUDGED)
        assert np.isnan([none.got, none.expected]).all()


# --- Shapes and precision -------------------------------------------------------------------------


def spoilt(**fields: Any) -> Any:
    """The steps, with a part of the record of the third one replaced."""
    steps = [step for step in STEPS if not step.stress]
    steps[2] = replace(steps[2], record=replace(steps[2].record, **fields))
    return steps[::-1]


def test_missing_tensors_and_other_shapes() -> None:
    record = STEPS[2].record
    model = SPEC.model
    assert shapes.misshapen(model, STEPS) is None
    z, a = list(record.pre_activations), list(record.activations)
    gradient = dict(record.gradient)
    wide = {**gradient, "layers.1.kernel": np.zeros((20, 15))}
    n = len(STEPS[2].labels)
    for fields, where, note in (
        ({"inputs": record.inputs[:, 1:]}, ("data", 0, "inputs"), f"shape ({n}, 143), "),
        ({"pre_activations": z[:2]}, ("forward", 2, "logits"), f"missing, expected ({n}, 10)"),
        ({"pre_activations": [z[0].T, *z[1:]]}, ("forward", 0, "pre_activation"), "shape (20, "),
        ({"activations": a[:1]}, ("forward", 1, "activation"), f"missing, expected ({n}, 14)"),
        ({"gradient": wide}, ("gradient", 1, "kernel"), "shape (20, 15), expected (20, 14)"),
        ({"gradient": {}}, ("gradient", 0, "kernel"), "missing, expected (144, 20)"),
        ({"state": State(3, {}, {})}, ("update", 0, "kernel"), "missing, expected (144, 20)"),
    ):
        odd = shapes.misshapen(model, spoilt(**cast(Any, fields)))
        assert odd is not None
        assert (odd.rung, odd.layer, odd.tensor) == where
        assert (odd.epoch, odd.step, odd.size, odd.stress) == (1, STEPS[2].step, np.inf, False)
        assert np.isnan([odd.got, odd.expected]).all()
        assert odd.note.startswith(note)


def stress_step(**fields: Any) -> Any:
    return replace(STEPS[-1], record=replace(STEPS[-1].record, **fields))


def test_tensors_of_the_stress_batch_come_last() -> None:
    odd = shapes.misshapen(SPEC.model, [stress_step(gradient={}), *STEPS[:-1]])
    assert odd is not None
    assert (odd.stress, odd.step, odd.rung) == (True, 0, "gradient")
    z = [np.full(t.shape, 1e300) for t in STEPS[-1].record.pre_activations]
    odd = shapes.too_exact([stress_step(pre_activations=z), *STEPS[:-1]])
    assert odd is not None
    assert (odd.stress, odd.epoch, odd.step, odd.layer) == (True, 0, 0, 0)
    assert (odd.got, odd.expected) == (1e300, np.inf)


def test_the_first_number_that_is_not_finite() -> None:
    record = STEPS[2].record
    z = [t.copy() for t in record.pre_activations]
    z[1][0, 0] = np.nan
    before, text = shapes.finite_part(spoilt(pre_activations=z))
    assert text == "the output of layer 1 is not finite at step 3 (epoch 1)"
    assert sorted(step.step for step in before) == [1, 2]
    a = [t.copy() for t in record.activations]
    a[0][0, 0] = np.inf
    for fields, words in (
        ({"activations": a, "pre_activations": z}, "the activation of layer 0"),
        ({"loss": np.nan}, "the loss"),
        ({"inputs": np.full_like(record.inputs, np.inf)}, "the batch"),
        ({"gradient": {"layers.0.bias": np.full(3, np.inf)}}, "the gradient of layers.0.bias"),
    ):
        _, text = shapes.finite_part(spoilt(**cast(Any, fields)))
        assert text == f"{words} is not finite at step 3 (epoch 1)"
    assert shapes.finite_part(STEPS) == (STEPS, "")


def test_numbers_finer_than_float32() -> None:
    assert shapes.too_exact(STEPS) is None
    z = [t.astype(np.float64) for t in STEPS[2].record.pre_activations]
    assert shapes.too_exact(spoilt(pre_activations=z)) is None  # float32 numbers in float64
    for layer, tensor in ((1, "pre_activation"), (2, "logits")):
        finer = [t.copy() for t in z]
        finer[layer][0, 3] = 0.1
        odd = shapes.too_exact(spoilt(pre_activations=finer))
        assert odd is not None
        assert (odd.rung, odd.layer, odd.tensor, odd.step) == ("forward", layer, tensor, 3)
        assert (odd.epoch, odd.stress) == (1, False)
        assert (odd.got, odd.expected, odd.size) == (0.1, float(np.float32(0.1)), 0.0)
    strange = [t.copy() for t in z]
    strange[0][0] = np.nan
    assert shapes.too_exact(spoilt(pre_activations=strange)) is None


# --- Fitted coefficients --------------------------------------------------------------------------


def test_a_weighted_fit() -> None:
    """Each element has one column, so that it gives its own coefficient."""
    columns = {
        "step": np.array([1.0, 0.0]),
        "weight": np.array([0.0, 2.0]),
        "velocity": np.zeros(2),
    }
    found = fit(np.array([3.0, 4.0]), columns, np.array([1.0, 3.0]))
    assert found is not None
    assert found.value == pytest.approx({"step": 3.0, "weight": 2.0})
    assert found.error == pytest.approx({"step": 1.0, "weight": 1.5})
    # Of two elements with one column, the one with a third of the deviation counts nine times.
    one = fit(np.array([1.0, 2.0]), {"step": np.ones(2)}, np.array([1.0, 3.0]))
    assert one is not None
    assert one.value["step"] == pytest.approx(1.1)
    assert one.error["step"] == pytest.approx(1 / sqrt(1 + 1 / 9))
    assert fit(np.zeros(2), {"step": np.zeros(2)}, np.ones(2)) is None
    assert (
        fit(np.zeros(1), columns | {"step": np.ones(1), "weight": np.ones(1)}, np.ones(1)) is None
    )


def test_columns_of_very_different_sizes_are_fitted() -> None:
    columns = {"step": np.array([1e-9, 0.0, 1e-9]), "weight": np.array([0.0, 1.0, 1.0])}
    found = fit(2 * columns["step"] + 3 * columns["weight"], columns, np.ones(3))
    assert found is not None
    assert found.value == pytest.approx({"step": 2.0, "weight": 3.0})


def test_the_deviation_of_a_rounding() -> None:
    """Uniform within one unit in the last place, and twice that of the step."""
    w, new, move = np.array([1.0, -4.0]), np.array([-2.0, 3.0]), np.array([3.0, 0.5])
    expected = np.sqrt([(2**2 + 4 * 3**2) / 12, (4**2 + 4 * 0.5**2) / 12]) * 0.25
    np.testing.assert_allclose(coefficients._rounding(w, new, 0.25, move), expected)
    assert coefficients._rounding(*np.zeros((2, 1)), 0.25, np.zeros(1))[0] > 0


def test_elements_that_are_rounded_alike_count_once() -> None:
    w = np.array([1.0, 1.5, 2.0, 1.25])
    move = np.array([0.1, -0.1, 0.1, 0.3])
    assert coefficients._sharing(w, move).tolist() == [2, 2, 1, 1]
    different = np.arange(1.0, 41)
    assert coefficients._sharing(different, different).tolist() == [1] * 40
    # An eleventh has the size of another one: not worth the grouping. A tenth is.
    few = np.concatenate([np.arange(1.0, 21), [20.0, 20.0]])
    assert coefficients._sharing(few, few).tolist() == [1] * 22
    enough = few[2:]
    assert coefficients._sharing(enough, enough).tolist() == [1] * 17 + [3] * 3
    # The exponents are those of 1/2, 1/4 and 0.
    near = np.array([0.5, 0.75, 0.25, 0.0])
    assert coefficients._sharing(near, np.full(4, 0.1)).tolist() == [3, 3, 1, 3]


def test_the_relative_error_that_a_rate_may_have() -> None:
    recipe, eps = GIVEN.recipe, GIVEN.recipe.eps
    plain = replace(recipe, spec=spec_of())
    assert relative_slack(plain, MOMENT) == pytest.approx(4 * eps)
    clipped = replace(recipe, spec=spec_of(clip_norm=0.5), slack=0.25)
    assert relative_slack(clipped, MOMENT) == pytest.approx(0.25 + 1e-6 / 0.5 + 4 * eps)
    assert relative_slack(recipe, MOMENT) == pytest.approx(4 * eps * 1018.5)


def test_which_coefficient_is_off() -> None:
    columns = {"step": np.full(4, 2.0), "weight": np.full(4, 10.0)}
    # A step may be off by 8 errors and the slack; a weight by 8 errors and a fifth of the slack.
    for value, error in (({"step": 9.0}, 1.0), ({"step": -9.0}, 1.0), ({"weight": 0.19}, 0.0)):
        found = Fit(value, dict.fromkeys(value, error))
        assert coefficients._worst(found, columns, 1.0) is None
    for name, value, size in (("step", -18.0, 2.0), ("weight", 8.4, 8.4 / 8.2)):
        off = coefficients._worst(Fit({name: value}, {name: 1.0}), columns, 1.0)
        assert off is not None
        assert (off.value, off.error) == (value, 1.0)
        assert off.size == pytest.approx(size)
    both = Fit(
        {"step": -18.0, "weight": 82.0, "velocity": 9.0},
        dict.fromkeys(("step", "weight", "velocity"), 1.0),
    )
    off = coefficients._worst(both, columns | {"velocity": np.full(4, 2.0)}, 1.0)
    assert off is not None
    assert off.text == "coefficient of the weights off by 82 +- 1"


EPS = GIVEN.recipe.eps


def updated(
    tensors: dict[str, tuple[Any, Any, Any]], *, step: int = 1, own: bool = False, **slots: Any
) -> tuple[judge.Moment, dict[str, Expected]]:
    """A moment and its exact new weights: old, exact and actual new weights by name.

    A slot has the same values in every tensor. If it is the side's `own`, it is found nowhere.
    """
    old, exact, new = ({name: np.asarray(w[i]) for name, w in tensors.items()} for i in range(3))
    kept = {slot: dict.fromkeys(tensors, values) for slot, values in slots.items()}
    record = replace(MOMENT.now.record, state=State(step, new, {} if own else kept))
    now = replace(MOMENT.now, step=step, shared=State(step - 1, old, kept), record=record)
    return judge.Moment(now), {name: Expected(w, np.abs(w)) for name, w in exact.items()}


PLAIN = replace(GIVEN.recipe, spec=spec_of())


def test_a_step_that_is_half_too_long() -> None:
    """Four weights move by 12 eps, not by 8 eps, so the residual is half of what is expected.

    The four are rounded alike and count as one. So the error is that of one rounding, divided by
    8 eps. The weights, a second column, are parallel to the step, so that the step is fitted alone.
    The fifth weight should move by 7 eps, and is left out. So are a tensor that does not move at
    all and one in which three weights move.
    """
    one = np.ones(5)
    exact = one - EPS * np.array([8, 8, 8, 8, 7])
    new = one - EPS * np.array([12, 12, 12, 12, 0])
    still = (np.zeros(5), np.zeros(5), np.zeros(5))
    few = (one, exact + EPS * np.array([7, 7, 0, 0, 0]), new)
    moment, judged = updated({"still": still, "few": few, "four": (one, exact, new)})
    found = coefficients.off_coefficients(PLAIN, moment, judged)
    assert list(found) == ["four"]
    off = found["four"]
    assert off.value == pytest.approx(0.5)
    rounding = sqrt((EPS**2 + 4 * (8 * EPS**2) ** 2) / 12)
    assert off.error == pytest.approx(rounding / (8 * EPS), rel=1e-6)
    assert off.size == pytest.approx(0.5 / (8 * off.error + 4 * EPS))
    assert off.text == "coefficient of the step off by 0.5 +- 0.04"


DRAWN = np.random.default_rng(3).normal(size=(3, 20, 10))
OLD, MOVE = DRAWN[0], 0.1 * DRAWN[1]
EXACT = OLD - MOVE


@pytest.mark.parametrize(
    ("residual", "text"),
    [
        (2e-5 * OLD, "coefficient of the weights off by 2e-05 +- "),
        (-2e-4 * MOVE, "coefficient of the step off by -0.0002 +- "),
        (2e-5 * DRAWN[2], "coefficient of the old velocity off by 2e-05 +- "),
    ],
)
def test_what_is_planted_in_one_tensor_is_named(residual: Any, text: str) -> None:
    """The side's new weights are in float32, as they come."""
    new = (EXACT - residual).astype(np.float32)
    tensors = {"clean": (OLD, EXACT, EXACT.astype(np.float32)), "w": (OLD, EXACT, new)}
    moment, judged = updated(tensors, velocity=DRAWN[2])
    found = coefficients.off_coefficients(PLAIN, moment, judged)
    assert list(found) == ["w"]
    assert found["w"].text.startswith(text)


@pytest.mark.parametrize(
    ("step", "own", "fitted"),
    [(1, False, True), (1, True, True), (2, False, True), (2, True, False)],
)
def test_updates_by_a_hidden_velocity_are_not_fitted(step: int, own: bool, fitted: bool) -> None:
    """But for step 1, before which it is known to be 0."""
    tensors = {"w": (OLD, EXACT, EXACT - 1e-4 * MOVE)}
    moment, judged = updated(tensors, step=step, own=own, velocity=DRAWN[2])
    assert is_own(moment) is own
    assert bool(coefficients.off_coefficients(PLAIN, moment, judged)) is fitted


def test_a_coefficient_is_a_finding_of_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    off = coefficients.Off(value=0.25, error=0.01, size=2.0, text="the coefficient")
    monkeypatch.setattr(judge, "off_coefficients", lambda *given: {"layers.1.bias": off})
    *_, last = judge.judge_step(GIVEN.recipe, MOMENT)
    assert last == Finding(
        "update", 1, 1, 1, "bias", 2 * 3.0, got=0.25, expected=0.0, note="the coefficient"
    )


# --- Exact values and their terms -----------------------------------------------------------------


def same(judged: Expected, value: Any, terms: Any) -> None:
    np.testing.assert_allclose(judged.value, value, rtol=1e-14, atol=0)
    np.testing.assert_allclose(judged.terms, terms, rtol=1e-14, atol=0)


LOW = 1 / (1 + exp(1))  # sigmoid(-1)


def test_terms_of_a_dense_layer() -> None:
    a, kernel, bias = np.float32([[1, -2]]), np.float32([[3], [4]]), np.float32([-5])
    same(arbiter.dense(a, kernel, bias), [[-10]], [[16]])


@pytest.mark.parametrize(
    ("name", "z", "value", "terms"),
    [
        ("relu", 2.0, 2.0, 4.0),
        ("relu", -1.0, 0.0, 0.0),
        ("leaky_relu(0.25)", -4.0, -1.0, 2.0),
        ("elu", -1.0, exp(-1) - 1, (1 - exp(-1)) + exp(-1) + 1.8 * (exp(-1) + 1)),
        ("elu", 3.0, 3.0, 6.0),
        ("elu", 0.0, 0.0, 0.0),
        ("elu", 0.5, 0.5, 1.0),
        ("softplus", 0.0, log(2), log(2) + 1),
        ("softplus", 1.0, log(1 + exp(1)), log(1 + exp(1)) + (1 - LOW) + exp(-1)),
        ("gelu", 0.0, 0.0, 0.0),
        ("tanh", 0.0, 0.0, 0.0),
    ],
)
def test_terms_of_an_activation(name: str, z: float, value: float, terms: float) -> None:
    same(arbiter.activation(name, np.array([z])), [value], [terms])


@pytest.mark.parametrize(("name", "more"), [("selu", 1.8 * (exp(-2) + 1)), ("gelu", 2.0)])
def test_terms_that_cancel_inside_an_activation(name: str, more: float) -> None:
    judged = arbiter.activation(name, np.array([-2.0]))
    a, s = activate(name, np.array([-2.0]))
    np.testing.assert_allclose(judged.terms, np.abs(a) + 2 * np.abs(s) + more)


def test_exact_values_are_float64_whatever_comes_in() -> None:
    z = np.float32([0.1])
    exact = float(np.float32(0.1))
    assert arbiter.activation("tanh", z).value.tolist() == [np.tanh(exact)]
    assert arbiter.keep_bits(z, 40).tolist() == [exact]
    assert arbiter.keep_bits(z, 2).dtype == np.float64
    cube = OtherActivation("cube", lambda x: x**3, lambda x: 3 * x**2)
    assert cube.judged(z).value.tolist() == [exact**3]
    assert cube.slope(z).value.tolist() == [3 * exact**2]
    logits, labels = np.float32([[0.1, 0.7], [3, 0.3]]), np.array([1, 0])
    for function, given in (
        (lambda t: arbiter.slope("tanh", t, z), z),
        (lambda t: arbiter.slope("tanh", z, t), z),
        (lambda t: arbiter.mean_cross_entropy(t, labels), logits),
        (lambda t: arbiter.logit_gradient(t, labels), logits),
    ):
        for single, double in zip(function(given), function(given.astype(np.float64)), strict=True):
            np.testing.assert_array_equal(single, double)


@pytest.mark.parametrize(
    ("name", "z", "a", "terms"),
    [
        ("sigmoid", 0.0, 0.5, 0.75),
        ("tanh", 0.0, 0.5, 1.25),
        ("elu", -1.0, -0.5, 2.3),
        ("selu", -1.0, -0.5, 2.3),
        ("gelu", -2.0, 0.0, 1 + 2 * 5 * exp(-2)),
        ("silu", 0.0, 0.0, 1.0),
        ("silu", -1.0, 0.0, LOW * (1 + 1 * (1 + LOW)) + LOW * (1 - 1 * (1 - LOW))),
        ("softplus", -1.0, 0.0, LOW * 2),
        ("relu", 3.0, 3.0, 1.0),
        ("leaky_relu(0.25)", -3.0, 0.0, 0.25),
    ],
)
def test_terms_of_a_slope(name: str, z: float, a: float, terms: float) -> None:
    found = arbiter.slope(name, np.array([z]), np.array([a]))
    np.testing.assert_allclose(found.terms, [terms], rtol=1e-14)


def test_an_activation_without_a_name() -> None:
    square = OtherActivation("square", lambda z: z * z, lambda z: 2 * z)
    z = np.float32([3, -1])
    same(square.judged(z), [9, 1], [9 + 18 + 3 + 1, 1 + 2 + 1 + 1])
    same(square.slope(z), [6, -2], [7, 3])


def test_fewer_bits() -> None:
    """1.125 lies between 1 and 1.25, and 1.375 between 1.25 and 1.5: ties go to the even one."""
    given = [1.125, 1.375, 1.2, -1.375, 0.0, 6.0]
    assert arbiter.keep_bits(np.array(given), 2).tolist() == [1.0, 1.5, 1.25, -1.5, 0.0, 6.0]
    assert arbiter.keep_bits(np.array(given), 2, np.trunc).tolist() == [
        1.0, 1.25, 1.0, -1.25, 0.0, 6.0,
    ]  # fmt: skip


def test_terms_of_loss_and_its_gradient() -> None:
    """Logits 0 and log 3 have the probabilities 1/4 and 3/4."""
    z, labels = np.array([[0.0, log(3)]]), np.array([0])
    terms = log(3) + 0 + log(4 / 3) + log(4) + 1
    same(arbiter.mean_cross_entropy(z, labels), log(4), terms)
    first = (2 + log(3) + log(4)) / 4 + 1
    second = 3 * (2 + log(4 / 3)) / 4
    same(arbiter.logit_gradient(z, labels), [[-3 / 4, 3 / 4]], [[first, second]])
    # Two rows share the mean; label 1 has another loss.
    two, both = np.repeat(z, 2, axis=0), np.array([0, 1])
    other = log(3) + log(3) + log(4 / 3) + log(4 / 3) + 1
    same(arbiter.mean_cross_entropy(two, both), log(16 / 3) / 2, (terms + other) / 2)
    same(
        arbiter.logit_gradient(two, both),
        [[-3 / 8, 3 / 8], [1 / 8, -1 / 8]],
        [[first / 2, second / 2], [(first - 1) / 2, (second + 1) / 2]],
    )
    # A row whose logits are all higher has the same probabilities and terms.
    higher = arbiter.logit_gradient(two + np.array([[0], [4]]), np.array([0, 0]))
    same(higher, [[-3 / 8, 3 / 8]] * 2, [[first / 2, second / 2]] * 2)


PARABOLA = OtherActivation("parabola", lambda z: z * z / 2 - 2 * z, lambda z: z - 2)


@pytest.mark.parametrize("hidden", ["relu", PARABOLA])
def test_terms_of_gradients(hidden: Any) -> None:
    """One unit a layer: x = -2, z = a = 3, a kernel of -5 above, and 0.5 +- 4 at the logits."""
    x, a, w = np.array([[-2.0]]), np.array([[3.0]]), np.array([[-5.0]])
    found = arbiter.gradients(
        {"layers.1.kernel": w},
        [hidden, "softmax"],
        ForwardValues(x, [a, a], [a]),
        Expected(np.array([[0.5]]), np.array([[4.0]])),
    )
    steep = 1.0 if hidden == "relu" else 2.0  # terms of the slope
    same(found["layers.1.kernel"], [[1.5]], [[12]])
    same(found["layers.1.bias"], [0.5], [4])
    same(found["layers.0.kernel"], [[5.0]], [[2 * 20 * steep]])
    same(found["layers.0.bias"], [-2.5], [20 * steep])


def test_each_bias_has_its_own_terms() -> None:
    """Two rows and two logits."""
    at_logits = Expected(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]]))
    found = arbiter.gradients({}, ["softmax"], ForwardValues(np.ones((2, 1)), [], []), at_logits)
    same(found["layers.0.bias"], [4, 6], [12, 14])


def test_how_adam_magnifies_a_rounding() -> None:
    first = (1 + 0.9) / 0.1 + 0.5 * (1 + 0.999) / 0.001
    assert arbiter.adam_cancellation(0.9, 0.999, 1) == pytest.approx(first) == pytest.approx(1018.5)
    second = (1 + 2 * 0.81) / 0.19 + 0.5 * (1 + 2 * 0.998001) / 0.001999
    assert arbiter.adam_cancellation(0.9, 0.999, 2) == pytest.approx(second)


W, G = {"w": np.array([-2.0])}, {"w": np.array([3.0])}


@pytest.mark.parametrize(
    ("options", "slots", "terms"),
    [
        ({"weight_decay": 0.1}, {}, 2 + 0.5 * 3.2),
        (
            {"weight_decay": 0.1, "momentum": 0.9},
            {"velocity": {"w": np.array([-1.0])}},
            2 + 0.5 * (3.2 + 1.9 * (0.9 + 3.2)),
        ),
        (
            {"name": "adam", "epsilon": 0.5, "weight_decay": 0.1},
            {"first_moment": {"w": np.array([-1.0])}},
            2 + 0.5 * sqrt(0.001) / 0.1 * (0.9 + 0.1 * 3.2) / 2.5 * (2 + 1018.5),
        ),
    ],
)
def test_terms_of_an_update(options: Any, slots: Any, terms: float) -> None:
    found = arbiter.update_terms(
        OptimizerSpec(learning_rate=0.5, **options),
        weights=W,
        slots=slots,
        new_slots={"second_moment": {"w": np.array([4.0])}},
        gradient=G,
        step=1,
    )
    assert found["w"] == pytest.approx([terms])


# --- The recipe -----------------------------------------------------------------------------------


def test_what_enters_a_slot() -> None:
    adam, d = OptimizerSpec(name="adam", beta_1=0.75, beta_2=0.5), np.array([2.0, 3.0])
    assert entering(adam, "first_moment", d).tolist() == [0.5, 0.75]
    assert entering(adam, "second_moment", d).tolist() == [2.0, 4.5]
    assert entering(OptimizerSpec(momentum=0.5), "velocity", d).tolist() == [2.0, 3.0]


def test_slack_widens_the_terms_of_an_update_by_its_own_move() -> None:
    """And those of a slot by what enters it, twice over, since one of the slots is a square."""
    tight, loose = (
        replace(GIVEN.recipe, slack=slack).updated(MOMENT) for slack in (0.0, 3 * GIVEN.recipe.eps)
    )
    optimizer = SPEC.optimizer
    for name, w in MOMENT.weights.items():
        old, new = tight.weights[name], loose.weights[name]
        np.testing.assert_array_equal(old.value, new.value)
        np.testing.assert_allclose(new.terms - old.terms, 3 * np.abs(w - old.value), atol=1e-12)
        g = np.abs(MOMENT.gradient[name])
        for slot, entered in (
            ("first_moment", (1 - optimizer.beta_1) * g),
            ("second_moment", (1 - optimizer.beta_2) * g * g),
        ):
            judged = tight.slots[slot][name]
            before = np.abs(MOMENT.slots[slot][name])
            np.testing.assert_allclose(judged.terms, np.abs(judged.value) + before + entered)
            wider = loose.slots[slot][name].terms - judged.terms
            np.testing.assert_allclose(wider, 6 * entered, rtol=1e-6, atol=1e-12)


def test_a_penalty_is_added_to_the_loss() -> None:
    plain = GIVEN.recipe.batch_loss(MOMENT)

    def penalty(weights: Any) -> Expected:
        total = np.asarray(sum((w * w).sum() for w in weights.values()))
        return Expected(total, 2 * total)

    total = sum((w * w).sum() for w in MOMENT.weights.values())
    found = replace(GIVEN.recipe, penalty=penalty).batch_loss(MOMENT)
    same(found, plain.value + total, plain.terms + 2 * total)


def test_parts_of_a_recipe_get_the_number_of_their_layer() -> None:
    """Kernels are multiplied by 1, 2, 3, biases moved by 0, 1, 2, and float64 arrives."""

    def kernel(layer: int, tensor: Any) -> Any:
        assert tensor.dtype == np.float64
        assert tensor.ndim == 2
        return (layer + 1) * tensor

    def bias(layer: int, tensor: Any) -> Any:
        assert tensor.dtype == np.float64
        return tensor + layer

    def operand(tensor: Any) -> Any:
        assert tensor.dtype == np.float64
        return tensor

    recipe = replace(GIVEN.recipe, kernel=kernel, bias=bias, operand=operand)
    record, weights = MOMENT.now.record, MOMENT.weights
    for layer in range(3):
        below = record.activations[layer - 1] if layer else record.inputs
        w, b = weights[f"layers.{layer}.kernel"], weights[f"layers.{layer}.bias"]
        z = below.astype(np.float64) @ ((layer + 1) * w) + b + layer
        np.testing.assert_allclose(recipe.pre_activation(MOMENT, layer).value, z, rtol=1e-12)
    # Gradients pass backwards through the kernels above: twice and three times as large.
    plain, changed = GIVEN.recipe.gradients(MOMENT), recipe.gradients(MOMENT)
    for layer, factor in ((2, 1), (1, 3), (0, 6)):
        name = f"layers.{layer}.kernel"
        np.testing.assert_allclose(changed[name].value, factor * plain[name].value, rtol=1e-9)


def test_coarser_gradients_and_those_that_are_changed() -> None:
    plain = GIVEN.recipe.gradients(MOMENT)
    for eps, factor in ((0.0, 1), (0.5 * GIVEN.recipe.eps, 1), (8 * GIVEN.recipe.eps, 8)):
        found = replace(GIVEN.recipe, gradient_eps=eps).gradients(MOMENT)
        for name, g in plain.items():
            same(found[name], g.value, factor * g.terms)

    def only_of(gradient: Any, moment: Any) -> Any:
        assert moment is MOMENT
        return {"layers.0.bias": gradient["layers.0.bias"]}

    assert list(replace(GIVEN.recipe, gradient=only_of).gradients(MOMENT)) == ["layers.0.bias"]


def test_an_activation_without_a_name_in_a_recipe() -> None:
    half = OtherActivation("half", lambda z: z / 2, lambda z: np.full_like(z, 0.5))
    recipe = replace(GIVEN.recipe, activations=(half, "sigmoid"))
    z = MOMENT.now.record.pre_activations[0].astype(np.float64)
    np.testing.assert_allclose(recipe.activation(MOMENT, 0).value, z / 2)
    plain = GIVEN.recipe.activation(MOMENT, 1)
    same(recipe.activation(MOMENT, 1), plain.value, plain.terms)


def test_steps_whose_rate_is_unknown_are_not_judged() -> None:
    for measured, known in ((frozenset({1, 2}), True), (frozenset({2}), False), (None, True)):
        updated = replace(GIVEN.recipe, measured=measured).updated(MOMENT)
        assert updated.known is known
    own = MOMENT.now.record.state.weights
    for name, judged in replace(GIVEN.recipe, measured=frozenset()).updated(MOMENT).weights.items():
        np.testing.assert_array_equal(judged.value, own[name])


# --- Memory ---------------------------------------------------------------------------------------


def hidden_velocity(spec: Any) -> tuple[judge.Moment, judge.Moment]:
    """The first two steps of a side that shows no slots."""
    steps = [
        replace(step, record=replace(step.record, state=replace(step.record.state, slots={})))
        for step in problem(spec).steps(NumpySide(spec))
    ]
    first, second = judge.moments(steps)[:2]
    return first, second


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.75},
        {"momentum": 0.75, "nesterov": True, "weight_decay": 0.5},
        {"momentum": 0.75, "schedule": [[2, 0.025]]},
        {"momentum": 0.75, "clip_norm": 0.01, "nesterov": True},
    ],
)
def test_a_velocity_that_is_hidden(options: dict[str, Any]) -> None:
    """It is what the last step makes of the shared one, within the roundings that it claims."""
    spec = spec_of(**options)
    first, second = hidden_velocity(spec)
    for moment in (first, second):
        assert is_own(moment)
    known = memory_of(spec.optimizer, first)
    assert known is not None
    assert known.terms == {}
    found = memory_of(spec.optimizer, second)
    assert found is not None
    gradient = clip_by_global_norm(first.gradient, spec.optimizer.clip_norm)
    rate, now = spec.optimizer.rate_at(1), spec.optimizer.rate_at(2)
    for name, w in first.weights.items():
        d = gradient[name] + spec.optimizer.weight_decay * w
        velocity = 0.75 * first.slots["velocity"][name] + d
        new = np.asarray(first.now.record.state.weights[name], np.float64)
        terms = now / rate * (np.abs(w) + np.abs(new))
        np.testing.assert_allclose(found.terms[name], terms)
        error = np.abs(found.slots["velocity"][name] - velocity)
        assert (error <= 4 * GIVEN.recipe.eps * (np.abs(w) + np.abs(new)) / rate + 1e-9).all()
    assert memory_of(spec.optimizer, replace(second, before=())) is None


def test_a_rounded_velocity_widens_the_terms_of_the_weights_that_it_moves() -> None:
    """At step 1 it is known to be 0, so that nothing is added."""
    spec = spec_of(momentum=0.75)
    for moment in hidden_velocity(spec):
        memory = memory_of(spec.optimizer, moment)
        assert memory is not None
        plain = arbiter.update_terms(
            spec.optimizer,
            weights=moment.weights,
            slots=memory.slots,
            new_slots={},
            gradient=moment.gradient,
            step=moment.step,
        )
        assert bool(memory.terms) is (moment.step == 2)
        for name, judged in problem(spec).recipe.updated(moment).weights.items():
            np.testing.assert_allclose(judged.terms, plain[name] + memory.terms.get(name, 0))


# --- The reference's run --------------------------------------------------------------------------


def test_losses_rows_and_correct_predictions_of_each_batch() -> None:
    (epoch,) = ReferenceRun(GIVEN.plan, GIVEN.data).epochs(1)
    states = ReferenceRun(GIVEN.plan, GIVEN.data).states([1, 4])
    assert epoch.rows.tolist() == [32] * 9 + [21]
    for step in (1, 4):
        images, labels = batch_of(GIVEN.plan, GIVEN.data, step)
        exact = {name: w.astype(np.float64) for name, w in states[step].weights.items()}
        x = scale_pixels(images, dtype=np.float64)
        logits = forward(exact, SPEC.model.activations, x).logits
        assert epoch.correct[step - 1] == (logits.argmax(axis=1) == labels).sum()
        loss = arbiter.mean_cross_entropy(logits, labels).value
        assert epoch.losses[step - 1] == pytest.approx(float(loss), rel=1e-6)


def test_a_state_is_rounded_to_the_precision_of_the_specification() -> None:
    run = ReferenceRun(GIVEN.plan, GIVEN.data)
    state = run.states([3])[3]
    assert state.step == 2
    assert state.slots.keys() == {"first_moment", "second_moment"}
    tensors = [*state.weights.values(), *(t for s in state.slots.values() for t in s.values())]
    assert {tensor.dtype for tensor in tensors} == {np.dtype(np.float32)}
    single = ReferenceRun(GIVEN.plan, GIVEN.data, dtype=np.float32).states([3])[3]
    name = "layers.0.kernel"
    np.testing.assert_allclose(single.weights[name], state.weights[name], atol=1e-4)
    assert (single.weights[name] != state.weights[name]).any()


def test_a_run_computes_in_its_own_precision() -> None:
    for dtype in (np.float32, np.float64):
        run = ReferenceRun(GIVEN.plan, GIVEN.data, dtype=dtype)
        run.epochs(1)
        for _, state in run._between.values():
            tensors = [
                *state.weights.values(),
                *(t for s in state.slots.values() for t in s.values()),
            ]
            assert {tensor.dtype for tensor in tensors} == {np.dtype(dtype)}


def test_the_first_step_of_adam_is_as_long_as_the_learning_rate() -> None:
    """Its second step is not: the bias corrections of both moments depend on the step."""
    states = ReferenceRun(GIVEN.plan, GIVEN.data).states([1, 2])
    moved = states[2].weights["layers.2.bias"] - states[1].weights["layers.2.bias"]
    np.testing.assert_allclose(np.abs(moved), 0.01, rtol=1e-3)


def test_epochs_are_computed_only_as_far_as_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[int] = []
    real = ReferenceRun._step

    def counted(self: Any, state: Any, rows: Any) -> Any:
        steps.append(state.step + 1)
        return real(self, state, rows)

    monkeypatch.setattr(ReferenceRun, "_step", counted)
    run = ReferenceRun(GIVEN.plan, GIVEN.data)
    run.epochs(1)
    assert steps == list(range(1, 11))
    run.epochs(1)
    assert len(steps) == 10


def test_a_reference_that_diverges_does_so_without_a_warning() -> None:
    """Whoever asked says it. Here warnings are errors."""
    spec = spec_of("relu", learning_rate=1e200, epochs=2)
    given = problem(spec_of("relu", epochs=2))
    state = ReferenceRun(replace(given.plan, spec=spec), given.data).states([15])[15]
    assert not np.isfinite(state.weights["layers.0.kernel"]).all()


def test_what_is_computed_in_the_background_holds_up_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    class Thread:
        def __init__(self, *, target: Any, daemon: bool) -> None:
            assert daemon
            self.start = target

    monkeypatch.setattr(trajectory, "Thread", Thread)
    trajectory.begin(*(partial(asked.append, number) for number in (1, 2)))
    assert asked == [1, 2]


# --- The stress batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 0.01])
def test_the_stress_batch_has_large_logits_and_unchanged_hidden_layers(factor: float) -> None:
    """However small the logits are at first."""
    weights = dict(GIVEN.plan.initial_weights)
    weights["layers.2.kernel"] = weights["layers.2.kernel"] * np.float32(factor)
    plan = replace(GIVEN.plan, initial_weights=weights)
    stress = stress_batch(plan, GIVEN.data)
    rows = plan.order(1)[:32]
    np.testing.assert_array_equal(stress.images, GIVEN.data.train_images[rows])
    np.testing.assert_array_equal(stress.labels, GIVEN.data.train_labels[rows])
    for name, w in stress.state.weights.items():
        assert w.dtype == np.float32
        changed = bool((w != plan.initial_weights[name]).any())
        assert changed == (name == "layers.2.kernel")
    exact = {name: w.astype(np.float64) for name, w in stress.state.weights.items()}
    x = scale_pixels(stress.images, dtype=np.float64)
    logits = forward(exact, SPEC.model.activations, x).logits
    gaps = logits.max(axis=1) - logits.min(axis=1)
    assert np.median(gaps) == pytest.approx(3 * STRESS_GAP, rel=1e-5)
    assert gaps.min() > STRESS_GAP
    assert stress.state.step == 0
    assert stress.state.slots.keys() == {"first_moment", "second_moment"}
    assert not any(t.any() for tensors in stress.state.slots.values() for t in tensors.values())


def test_the_stress_batch_has_at_most_64_rows() -> None:
    spec = spec_of(batch_size=100)
    plan = make_plan(spec, made_up())
    assert len(stress_batch(plan, training_data(plan, made_up())).labels) == 64
