"""Layers that run more than once, on all steps of a sequence, or unknown to their model."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from mnist_mlp.parity.check.pair_open import leave_open
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.arrange import steps_like
from mnist_mlp.parity.pair.breaks import Explained
from mnist_mlp.parity.pair.initial import unlike_breaks
from mnist_mlp.parity.pair.judge import Judged, calls_alike, judge
from mnist_mlp.parity.pair.loss_hypotheses import _fix_of_scale
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, Unlike, WeightMap
from mnist_mlp.ports.pair import PairFacts, PairLayer, PairStep
from mnist_mlp.reference import Array

RNG = np.random.default_rng(0)
ONE, TWO, THREE = (RNG.normal(size=(6, 2)) for _ in range(3))
TOWER = PairLayer(0, "tower", "dense", shapes={"kernel": (2, 2)})
WEIGHTS = WeightMap((LayerPair(TOWER, TOWER),))


def called(*inputs: Array, loss: float = 1.0) -> PairStep:
    """A step in which a layer that doubles runs on each of the inputs."""
    later = {0: [(x, 2 * x) for x in inputs[1:]]} if inputs[1:] else {}
    return PairStep({0: inputs[0]}, {0: 2 * inputs[0]}, loss, {}, {}, {}, later=later)


@pytest.mark.parametrize(
    ("theirs", "order"),
    [
        ([ONE, TWO, THREE], (0, 1, 2)),
        ([TWO, THREE, ONE], (2, 0, 1)),
        ([ONE, TWO], None),
        ([ONE], None),
        ([ONE, TWO, THREE + 1e-6], None),
    ],
    ids=["alike", "another order", "fewer", "once", "other inputs"],
)
def test_the_calls_of_a_shared_layer(
    theirs: Sequence[Array], order: tuple[int, ...] | None
) -> None:
    assert calls_alike([called(ONE, TWO, THREE)], [called(*theirs)], WEIGHTS) == order


@pytest.mark.parametrize(
    ("theirs", "kept", "told"),
    [
        ([ONE, TWO], True, ""),
        ([TWO, ONE], False, "on the same inputs in another order"),
        ([ONE, THREE], False, "not all of their calls are known to agree"),
    ],
)
def test_a_loss_behind_a_shared_layer_is_judged_if_all_calls_agree(
    theirs: Sequence[Array], kept: bool, told: str
) -> None:
    facts = PairFacts("torch", (TOWER,), 0, repeated=("tower",))
    port = [called(*theirs)]
    run = SimpleNamespace(
        facts_a=facts,
        facts_b=facts,
        weights=WEIGHTS,
        steps_a=[called(ONE, TWO)],
        own_steps=lambda: port,
        untried=False,
    )
    place = Place(1, 1, None, "loss")
    item = Break(side="b", rung="loss", place=place, cause=Cause(UNKNOWN, "larger"))
    result, seen = Explained(Judged(), breaks=[item]), PairEvidence()
    leave_open(seen, result, cast(PairRun, run))
    assert bool(result.breaks) is kept
    assert told in "".join(seen.not_judged)


# --- A dense layer on all steps -------------------------------------------------------------------

STEPS = RNG.normal(size=(6, 5, 2))


def test_the_nearest_step_of_a_sequence() -> None:
    for x, y in ((STEPS, STEPS[:, 3] + 0.01), (STEPS[:, 3] + 0.01, STEPS)):
        found = steps_like(x, y)
        assert found is not None
        assert np.allclose(found[0] - found[1], -0.01 if x.ndim == 3 else 0.01)
    assert steps_like(STEPS, STEPS[:5, 0]) is None
    assert steps_like(STEPS, STEPS) is None


@pytest.mark.parametrize("apart", [0.0, 1e-6])
def test_a_head_on_all_steps_is_one_on_the_step_that_is_read(apart: float) -> None:
    """If the losses agree; a sequence that is read as a whole gives another loss."""
    ours = PairStep({0: STEPS[:, -1]}, {0: STEPS[:, -1]}, 1.0, {}, {}, {})
    theirs = PairStep({0: STEPS}, {0: STEPS}, 1.0 + apart, {}, {}, {})
    for a, b in ((ours, theirs), (theirs, ours)):
        assert bool(judge([a], [b], WEIGHTS).findings) is bool(apart)


# --- What the port's model lacks ------------------------------------------------------------------


def test_layers_that_a_model_does_not_know_have_a_name() -> None:
    """They are told by themselves, as those that are matched may be others."""
    out = PairLayer(2, "out", "dense", shapes={"kernel": (8, 1)})
    lost = [PairLayer(n, "linear", "dense", shapes={"kernel": (n, 8)}) for n in (3, 4)]
    unlike = Unlike(missing=(out, TOWER))
    port = PairFacts("torch", (*lost, out), 0, unregistered=tuple(lost))
    found = unlike_breaks(unlike, port)
    assert [item.cause.name for item in found] == ["layer_not_registered"] * 2
    assert "linear (3x8)" in str(found[0].cause.value)
    fewer = PairFacts("torch", (*lost, out), 0, unregistered=tuple(lost[:1]))
    assert [item.cause.name for item in unlike_breaks(unlike, fewer)] == ["layers_missing"] * 2


def test_a_layer_that_runs_in_the_place_of_two_is_named() -> None:
    norm = PairLayer(1, "bn: batch_norm", "batch_norm", shapes={"gamma": (4,)})
    other = PairLayer(3, "batch_normalization_1", "batch_norm", shapes={"gamma": (4,)})
    port = PairFacts("torch", (norm,), 0, repeated=("bn",))
    (found,) = unlike_breaks(Unlike(missing=(other,)), port)
    assert found.cause.name == "normalisation_missing"
    assert str(found.cause.value).endswith("the port runs bn: batch_norm once more")
    alone = PairFacts("torch", (norm,), 0)
    (found,) = unlike_breaks(Unlike(missing=(other,)), alone)
    assert "once more" not in str(found.cause.value)


# --- Cures of a loss that is a multiple -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "factor", "fix"),
    [
        ("kl_div", 2.0, 'reduction="batchmean" in kl'),
        ("kl_div", 3.0, "multiply the loss by 3, or leave out what divides it"),
        ("mse_loss", 0.25, "divide the loss by 4, or leave out what multiplies it"),
    ],
)
def test_what_to_write_for_a_loss_that_is_a_multiple(kind: str, factor: float, fix: str) -> None:
    loss = PairLayer(1, "kl", kind)
    run = SimpleNamespace(
        facts_b=PairFacts("torch", (TOWER, loss), 0, loss=loss),
        steps_a=[called(ONE)],
        weights=WEIGHTS,
    )
    assert _fix_of_scale(cast(PairRun, run), factor) == fix
