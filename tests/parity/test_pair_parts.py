"""Pairs, without a framework: layouts, the weight map, what a step shows, and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_verdict import PairEvidence, pair_outcome
from mnist_mlp.parity.check.target import Target
from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.outcome import Outcome
from mnist_mlp.parity.pair import arithmetic
from mnist_mlp.parity.pair.arrange import flattened_by_channels, laid_like, windows_like
from mnist_mlp.parity.pair.breaks import _fix, explained
from mnist_mlp.parity.pair.judge import LIMITS, judge
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.segments import side_by_side
from mnist_mlp.parity.pair.weight_map import Unlike, WeightMap, match
from mnist_mlp.ports.draws import laid_out
from mnist_mlp.ports.pair import Mend, PairFacts, PairJob, PairLayer, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.update_rules import settings_of_kind
from mnist_mlp.reference import Array, Tensors

RNG = np.random.default_rng(0)


# --- Layouts --------------------------------------------------------------------------------------


def test_images_are_laid_out_like_each_other() -> None:
    last = RNG.normal(size=(3, 5, 6, 2))
    first = np.moveaxis(last, -1, 1)
    np.testing.assert_array_equal(laid_like(first, last), last)
    np.testing.assert_array_equal(laid_like(last, first), first)


def test_of_several_layouts_the_nearest_is_taken() -> None:
    """Square maps with as many channels fit in every layout."""
    last = RNG.normal(size=(3, 4, 4, 4))
    np.testing.assert_array_equal(laid_like(np.moveaxis(last, -1, 1), last), last)


def test_axes_of_length_one_do_not_count() -> None:
    pooled = RNG.normal(size=(3, 7))
    np.testing.assert_array_equal(laid_like(pooled.reshape(3, 7, 1, 1), pooled), pooled)


@pytest.mark.parametrize("shape", [(3, 8), (4, 7), (3, 7, 2)])
def test_other_shapes_are_not_laid_out(shape: tuple[int, ...]) -> None:
    assert laid_like(np.zeros(shape), np.zeros((3, 7))) is None


def test_flattened_by_channels_is_what_torch_makes_of_it() -> None:
    maps = RNG.normal(size=(2, 3, 4, 5))  # rows, height, width, channels
    flat = maps.reshape(2, -1)
    by_channels = np.moveaxis(maps, -1, 1).reshape(2, -1)
    np.testing.assert_array_equal(flat[:, flattened_by_channels((3, 4, 5))], by_channels)


# --- The weight map -------------------------------------------------------------------------------


def dense(number: int, inputs: int = 3, units: int = 2, **roles: tuple[int, ...]) -> PairLayer:
    shapes = {"kernel": (inputs, units), "bias": (units,)} | roles
    return PairLayer(number, f"dense_{number}", "dense", shapes=shapes)


def norm(number: int, **settings: float) -> PairLayer:
    roles = ("gamma", "beta", "mean", "variance")
    settings = {"epsilon": 1e-3, "momentum": 0.99} | settings
    return PairLayer(number, f"bn_{number}", "batch_norm", settings, dict.fromkeys(roles, (2,)))


def work(number: int, kind: str, **settings: float) -> PairLayer:
    return PairLayer(number, f"{kind}_{number}", kind, settings)


def matched(a: Sequence[PairLayer], b: Sequence[PairLayer]) -> WeightMap:
    found = match(a, b)
    assert isinstance(found, WeightMap)
    return found


def test_branches_in_another_order_are_matched_by_shape() -> None:
    a, b = [dense(0), dense(1, units=5)], [dense(2, units=5), dense(4)]
    assert [(p.a.number, p.b.number) for p in matched(a, b).pairs] == [(0, 4), (1, 2)]


def test_a_layer_without_counterpart_is_named() -> None:
    found = match([dense(0), norm(1), dense(2)], [dense(0), dense(1)])
    assert isinstance(found, Unlike)
    assert [layer.name for layer in found.missing] == ["bn_1"]
    found = match([dense(0)], [dense(0), norm(1)])
    assert isinstance(found, Unlike)
    assert [layer.name for layer in found.extra] == ["bn_1"]


def test_other_shapes_are_named() -> None:
    found = match([dense(0, units=2)], [dense(0, units=4)])
    assert isinstance(found, Unlike)
    assert [(a.shapes["kernel"], b.shapes["kernel"]) for a, b in found.reshaped] == [
        ((3, 2), (3, 4))
    ]


def conv(number: int, *kernel: int, stride: int = 1, pad: int = 0) -> PairLayer:
    axes = range(len(kernel) - 2)
    settings = {
        "groups": 1,
        "stride": (stride,) * len(axes),
        "pads": tuple((pad, pad) for _ in axes),
    }
    return PairLayer(number, f"conv_{number}", "conv", settings, {"kernel": kernel})


@pytest.mark.parametrize(
    ("a", "b"),
    [(dense(0, 3, 2), conv(0, 1, 1, 3, 2)), (conv(0, 4, 5, 2), conv(0, 4, 5, 1, 2))],
)
def test_a_layer_has_a_counterpart_of_another_kind_that_computes_the_same(
    a: PairLayer, b: PairLayer
) -> None:
    value = RNG.normal(size=a.shapes["kernel"])
    for ours, theirs in ((a, b), (b, a)):
        there = matched([ours], [theirs]).to_b({"0/kernel": value.reshape(ours.shapes["kernel"])})
        assert there["0/kernel"].shape == theirs.shapes["kernel"]
        np.testing.assert_array_equal(there["0/kernel"].ravel(), value.ravel())


@pytest.mark.parametrize("other", [conv(0, 1, 1, 3, 2, stride=2), conv(0, 1, 1, 3, 2, pad=1)])
def test_a_convolution_that_skips_or_pads_is_no_dense_layer(other: PairLayer) -> None:
    found = match([dense(0, 3, 2)], [other])
    assert isinstance(found, Unlike)
    assert (found.missing[0].kind, found.extra[0].kind) == ("dense", "conv")


def test_weights_go_there_and_back() -> None:
    """With inputs and outputs in another order, and a bias that only the port has."""
    plain = dense(0, 3, 2)
    without = replace(plain, shapes={"kernel": (3, 2)})
    weights = matched([without], [plain]).with_orders(
        0, rows=np.array([2, 0, 1]), columns=np.array([1, 0])
    )
    kernel = RNG.normal(size=(3, 2))
    there = weights.to_b({"0/kernel": kernel})
    np.testing.assert_array_equal(there["0/kernel"], kernel[[2, 0, 1]][:, [1, 0]])
    np.testing.assert_array_equal(there["0/bias"], [0, 0])
    np.testing.assert_array_equal(weights.to_a(there)["0/kernel"], kernel)


# --- One step -------------------------------------------------------------------------------------


def step(scale: float = 1.0) -> PairStep:
    """A dense layer and a normalisation."""
    rng = np.random.default_rng(1)
    before = {"0/kernel": rng.normal(size=(3, 2)), "0/bias": np.zeros(2)}
    before |= {"1/gamma": np.ones(2), "1/mean": np.zeros(2), "1/variance": np.ones(2)}
    trained = ("0/kernel", "0/bias", "1/gamma")
    gradients = {name: scale * rng.normal(size=before[name].shape) for name in trained}
    after = {n: w - 0.1 * gradients.get(n, np.full(w.shape, 0.01)) for n, w in before.items()}
    return PairStep(
        inputs={0: rng.normal(size=(4, 3)), 1: rng.normal(size=(4, 2))},
        outputs={0: rng.normal(size=(4, 2)), 1: rng.normal(size=(4, 2))},
        loss=1.5,
        before=before,
        gradients=gradients,
        after=after,
    )


LAYERS = [dense(0), replace(norm(1), shapes=dict.fromkeys(("gamma", "mean", "variance"), (2,)))]


def changed(part: str, name: object, by: float) -> PairStep:
    """A step of which one tensor is a share of its largest element away."""
    whole = step()
    if part == "loss":
        return replace(whole, loss=whole.loss * (1 + by))
    tensors = dict(getattr(whole, part))
    value = np.array(tensors[name])
    base = value - whole.before[name] if part == "after" else value  # type: ignore[index]
    value.flat[0] += by * np.abs(base).max()
    tensors[name] = value
    return replace(whole, **{part: tensors})


@pytest.mark.parametrize(
    ("part", "name", "stage", "layer", "tensor"),
    [
        ("inputs", 0, "forward", 0, "inputs"),
        ("outputs", 0, "forward", 0, "outputs"),
        ("inputs", 1, "forward", 1, "inputs"),
        ("loss", None, "loss", None, "loss"),
        ("gradients", "0/kernel", "gradient", 0, "kernel"),
        ("after", "0/bias", "update", 0, "bias"),
        ("after", "1/variance", "state", 1, "variance"),
    ],
)
def test_a_difference_is_found_where_it_is(
    part: str, name: object, stage: str, layer: int | None, tensor: str
) -> None:
    weights = matched(LAYERS, LAYERS)
    seen = judge([step()], [changed(part, name, 1e-9)], weights)
    (found,) = seen.findings.values()
    assert (found.stage, found.layer, found.tensor) == (stage, layer, tensor)
    assert found.size == pytest.approx(1e-9, rel=1e-2)
    assert not judge([step()], [changed(part, name, 1e-13)], weights).findings


def test_equal_steps_have_no_finding_and_a_margin_for_each_stage() -> None:
    seen = judge([step()] * 2, [step()] * 2, matched(LAYERS, LAYERS))
    assert not seen.findings
    assert seen.margins.keys() == {"data", *LIMITS}


def test_a_number_that_is_not_finite_is_a_difference() -> None:
    outputs = {**step().outputs, 0: np.full((4, 2), np.nan)}
    seen = judge([step()], [replace(step(), outputs=outputs)], matched(LAYERS, LAYERS))
    assert seen.findings["forward"].size == float("inf")


def test_behind_a_difference_gradients_are_not_compared_and_updates_are() -> None:
    wrong = replace(changed("outputs", 0, 1e-3), gradients=step(2.0).gradients)
    seen = judge([step()], [wrong], matched(LAYERS, LAYERS))
    assert seen.findings.keys() == {"forward"}
    assert seen.margins["update"] == 0


def test_a_gradient_that_is_zero_by_structure_is_left_out() -> None:
    def with_noise(draw: int) -> PairStep:
        noise = np.random.default_rng(draw).normal(size=2) * 1e-16
        return replace(step(), gradients=step().gradients | {"0/bias": noise})

    seen = judge([with_noise(1)], [with_noise(2)], matched(LAYERS, LAYERS))
    assert not seen.findings
    assert seen.zero == {"0/bias"}


def test_a_gradient_that_one_side_lacks_is_a_difference() -> None:
    gradients: Tensors = {"0/bias": step().gradients["0/bias"]}
    seen = judge([step()], [replace(step(), gradients=gradients)], matched(LAYERS, LAYERS))
    assert (seen.findings["gradient"].got, seen.findings["gradient"].tensor) == ("none", "kernel")


# --- Arithmetic -----------------------------------------------------------------------------------


def rounded(bits: int) -> PairStep:
    """A step whose outputs have so few bits."""

    def cut(x: Array) -> Array:
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent)

    return replace(step(), outputs={n: cut(x) for n, x in step().outputs.items()})


def test_coarse_arithmetic_is_told_from_float32() -> None:
    for lost in (arithmetic.lost, arithmetic.lost_in_products):
        assert lost(rounded(24), step()) < 1e-6 < arithmetic.COARSE
        assert lost(rounded(11), step()) > arithmetic.COARSE  # TF32, float16
        assert lost(rounded(8), step()) > arithmetic.COARSE  # bfloat16


def test_what_a_normalisation_loses_is_not_lost_in_products() -> None:
    exact = step()
    normalised = replace(exact, outputs={**exact.outputs, 1: exact.outputs[1] * (1 + 1e-3)})
    assert arithmetic.lost_in_products(normalised, exact) == 0
    # Nor is what a layer with a kernel is given, and hands on.
    inputs, outputs = ({**each, 0: each[0] * (1 + 1e-3)} for each in (exact.inputs, exact.outputs))
    behind = replace(exact, inputs=inputs, outputs=outputs)
    assert arithmetic.lost_in_products(behind, exact) < 1e-12
    product = replace(exact, outputs={**exact.outputs, 0: exact.outputs[0] * (1 + 1e-3)})
    assert arithmetic.lost_in_products(product, exact) > arithmetic.COARSE


# --- Side by side, and experiments ----------------------------------------------------------------


def test_work_between_two_layers_is_held_side_by_side() -> None:
    a = [dense(0), work(1, "relu"), work(2, "max_pool"), work(3, "dropout", rate=0.5), dense(4)]
    b = [dense(0), work(1, "relu"), work(2, "average_pool"), dense(3)]
    found = list(side_by_side(a, b, matched(a, b), 1))
    assert [(x.a and x.a.kind, x.b and x.b.kind, x.behind) for x in found] == [
        ("relu", "relu", 1),
        ("max_pool", "average_pool", 2),
        ("dropout", None, 2),
    ]


def test_work_of_branches_that_run_in_another_order_belongs_to_the_layer_before() -> None:
    a = [dense(0, 3, 4), work(1, "relu"), dense(2, 3, 2), work(3, "selu"), dense(4, 6, 1)]
    b = [dense(0, 3, 2), work(1, "tanh"), dense(2, 3, 4), work(3, "elu"), dense(4, 6, 1)]
    weights = matched(a, b)
    found = [x for place in range(4) for x in side_by_side(a, b, weights, place)]
    assert [(x.a and x.a.kind, x.b and x.b.kind, x.behind) for x in found] == [
        ("relu", "elu", 3),
        ("selu", "tanh", 1),
    ]


def under_sgd(one: PairStep, rate: float, momentum: float) -> PairStep:
    """With the settings of an optimizer whose rule it does not follow."""
    found = {"learning_rate": rate, "momentum": momentum}
    settings = settings_of_kind("torch", "SGD", found)
    return replace(one, optimizer=dict.fromkeys(one.gradients, settings))


class FakePort:
    """Steps that are the original's where all of some changes are in effect, else others."""

    def __init__(self, *needed: Mend, wrong: PairStep) -> None:
        self.needed, self.wrong = set(needed), wrong
        self.jobs: list[PairJob] = []

    def fit(self, job: PairJob) -> tuple[PairStep, ...]:
        self.jobs.append(job)
        good = self.needed <= set(job.mends)
        return (under_sgd(step() if good else self.wrong, 0.2, 0.8),) * 6


def run_of(port: FakePort, a: Sequence[PairLayer], b: Sequence[PairLayer]) -> PairRun:
    rows = PairRows(np.zeros((6, 3)), np.zeros(6), 2)
    facts = PairFacts("keras", tuple(a), 0), PairFacts("torch", tuple(b), 0)
    steps = (under_sgd(step(), 0.1, 0.9),) * 6
    return PairRun(port.fit, *facts, steps, rows, matched(a, b))


WITH_OTHER_EPSILON = [LAYERS[0], replace(LAYERS[1], settings={"epsilon": 1e-5, "momentum": 0.99})]


def test_a_setting_that_removes_the_difference_is_the_cause() -> None:
    port = FakePort(Mend(1, "epsilon", 1e-3), wrong=changed("outputs", 1, 1e-3))
    seen = explained(run_of(port, LAYERS, WITH_OTHER_EPSILON))
    (found,) = seen.breaks
    assert found.cause.name == "normalisation_settings"
    assert found.cause.value == "epsilon 1e-05 instead of 0.001 in bn_1"
    assert (found.rung, found.layer, found.tensor) == ("forward", 1, "pre_activation")
    assert not seen.judged.findings


def test_a_setting_that_does_not_is_not_named() -> None:
    port = FakePort(Mend(9, "never"), wrong=changed("outputs", 1, 1e-3))
    seen = explained(run_of(port, LAYERS, WITH_OTHER_EPSILON))
    (found,) = seen.breaks
    assert found.cause.name == "unknown"
    assert seen.open_stages == ["loss", "gradient"]


def test_of_several_settings_the_smallest_set_is_named() -> None:
    rate, momentum = Mend(None, "learning_rate", 0.1), Mend(None, "momentum", 0.9)
    alone = FakePort(rate, wrong=changed("after", "0/kernel", 1e-3))
    seen = explained(run_of(alone, LAYERS, LAYERS))
    assert [item.cause.name for item in seen.breaks] == ["learning_rate"]
    both = FakePort(rate, momentum, wrong=changed("after", "0/kernel", 1e-3))
    seen = explained(run_of(both, LAYERS, LAYERS))
    assert [item.cause.name for item in seen.breaks] == ["learning_rate", "momentum"]


def test_the_unbiased_variance_is_noted() -> None:
    port = FakePort(Mend(1, "population_variance"), wrong=changed("after", "1/variance", 1e-3))
    seen = explained(run_of(port, LAYERS, LAYERS))
    assert [cause.name for cause in seen.noted] == ["unbiased_variance"]
    assert not seen.breaks


# --- What to change -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "mend", "expected"),
    [
        ("torch", Mend(3, "epsilon", 1e-3), "eps=0.001 in bn: batch_norm"),
        # Keras weighs the old mean, torch the new one.
        ("torch", Mend(3, "momentum", 0.99), "momentum=0.01 in bn: batch_norm"),
        ("keras", Mend(3, "momentum", 0.99), "momentum=0.99 in bn: batch_norm"),
        ("torch", Mend(None, "momentum", 0.9), "momentum=0.9 in the optimizer"),
        ("torch", Mend(None, "learning_rate", 0.05), "lr=0.05 in the optimizer"),
        ("keras", Mend(None, "learning_rate", 0.05), "learning_rate=0.05 in the optimizer"),
        ("torch", Mend(3, "smoothing", 0.1), "label_smoothing=0.1 in bn: batch_norm"),
        ("keras", Mend(4, "delta", 1.5), "delta=1.5 in the loss"),
        *(
            (framework, Mend(3, field, (kind, settings)), f"{code} {place} bn: batch_norm")
            for field, place in (("kind", "in place of"), ("after", "behind"))
            for framework, kind, settings, code in (
                ("torch", "leaky_relu", {"slope": 0.1}, "F.leaky_relu(x, 0.1)"),
                ("keras", "leaky_relu", {}, "keras.activations.leaky_relu(x, negative_slope=0.2)"),
                ("torch", "gelu", {"approximate": True}, 'F.gelu(x, approximate="tanh")'),
                ("keras", "gelu", {}, "keras.activations.gelu(x, approximate=False)"),
                ("torch", "hard_silu", {}, "F.hardswish(x)"),
                ("torch", "elu", {"alpha": 0.5}, "F.elu(x, 0.5)"),
                ("keras", "elu", {}, "keras.activations.elu(x, alpha=1)"),
                ("torch", "softmax", {}, "F.softmax(x, dim=-1)"),
                ("torch", "dropout", {"rate": 0.3}, "nn.Dropout(0.3)"),
                ("keras", "dropout", {"rate": 0.3}, "keras.layers.Dropout(0.3)"),
            )
        ),
        ("torch", Mend(3, "kind", ("max_pool", {})), ""),
        ("torch", Mend(3, "skip"), ""),
        ("torch", Mend(None, "nesterov", value=True), ""),
    ],
)
def test_the_fix_has_the_original_s_numbers(framework: str, mend: Mend, expected: str) -> None:
    layer = SimpleNamespace(number=3, name="bn: batch_norm")
    run = SimpleNamespace(facts_b=SimpleNamespace(framework=framework, layers=(layer,)))
    assert _fix((mend,), cast(PairRun, run)) == expected


# --- The outcome ----------------------------------------------------------------------------------


def outcome_of(seen: PairEvidence) -> Outcome:
    target = cast(Target, SimpleNamespace(text="file.py:NAME", framework="torch"))
    return pair_outcome(target, target, seen)


def judged_pair() -> PairEvidence:
    seen = PairEvidence(judged=True)
    seen.margins = dict.fromkeys(("forward", "loss", "gradient", "update", "data"), 0.1)
    seen.compared = {"spec": 2, "init": 4}
    return seen


def test_what_two_layers_have_in_common_is_noted_once() -> None:
    seen = judged_pair()
    seen.noted = [Cause("unbiased_variance", f"too large, in {name}") for name in ("bn1", "bn2")]
    outcome = outcome_of(seen)
    assert [cause.value for cause in outcome.noted] == ["too large, in bn1, bn2"]
    assert outcome.verdict == "identical"
    (update,) = (rung for rung in outcome.rungs if rung.name == "update")
    assert (update.status, update.text) == ("noted", "unbiased_variance")


def test_a_pair_of_which_no_step_was_judged_is_left_open() -> None:
    seen = judged_pair()
    seen.judged = False
    assert outcome_of(seen).verdict == "inconclusive"
    seen = judged_pair()
    del seen.margins["loss"]
    assert outcome_of(seen).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("given", "channels_last", "moved"),
    [
        ((2, 3, 4, 5), True, (0, 2, 3, 1)),
        ((2, 4, 5, 3), False, (0, 3, 1, 2)),
        ((2, 4, 4, 4), True, None),  # it fits as it is
        ((2, 3), False, None),
    ],
)
def test_masks_are_laid_out_as_the_other_framework_has_them(
    given: tuple[int, ...], channels_last: bool, moved: tuple[int, ...] | None
) -> None:
    keep = np.arange(np.prod(given)).reshape(given)
    expected = keep if moved is None else keep.transpose(moved)
    found = laid_out(keep, expected.shape, channels_last=channels_last)
    assert found is not None
    np.testing.assert_array_equal(found, expected)


def test_masks_may_differ_by_axes_of_one_and_must_have_as_many_elements() -> None:
    keep = np.arange(6).reshape(2, 1, 3)
    found = laid_out(keep, (2, 3, 1, 1), channels_last=True)
    assert found is not None
    np.testing.assert_array_equal(found, keep.reshape(2, 3, 1, 1))
    assert laid_out(keep, (2, 4), channels_last=True) is None


def test_a_batch_as_large_as_its_images_and_channels() -> None:
    """What has the same size along all axes may be anything; the numbers tell."""
    a = RNG.normal(size=(6, 6, 6, 6))
    for order in ((0, 1, 2, 3), (0, 3, 1, 2), (1, 0, 2, 3)):
        laid = laid_like(a.transpose(order), a)
        assert laid is not None
        np.testing.assert_array_equal(laid, a)


# --- Windows of a layer's result ------------------------------------------------------------------


def test_a_window_of_a_larger_result_in_another_layout() -> None:
    a = RNG.normal(size=(4, 5, 6, 3))
    b = np.zeros((4, 3, 7, 6))
    b[:, :, 2:, :] = a.transpose(0, 3, 1, 2)
    found = windows_like(b, a)
    assert found is not None
    np.testing.assert_array_equal(found[0], found[1])
    assert found[1].shape == a.shape
    b[1, 2, 3, 4] += 1e-9  # what differs within the window is not hidden
    found = windows_like(b, a)
    assert found is not None
    assert np.abs(found[0] - found[1]).max() == pytest.approx(1e-9, rel=1e-3)


def test_the_original_may_be_the_larger_one() -> None:
    a = RNG.normal(size=(2, 9, 3))
    found = windows_like(a[:, 1:8].transpose(0, 2, 1), a)
    assert found is not None
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape == (2, 7, 3)


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 7, 4), (4, 2, 7, 6), (3, 3, 7, 6), (4, 3, 5, 6), (4, 126)],
    ids=["one axis smaller", "fewer channels", "fewer rows", "as large", "flat"],
)
def test_what_is_no_window(shape: tuple[int, ...]) -> None:
    assert windows_like(np.zeros(shape), np.zeros((4, 5, 6, 3))) is None
