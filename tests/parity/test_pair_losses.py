"""Several losses of two models: which belong together, and which outputs are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_mlp.parity.pair import losses
from mnist_mlp.parity.pair.heads import by_names
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.pair import ClassWeights, Mend, PairFacts, PairLayer
from mnist_mlp.ports.pair_rows import PairRows

WEIGHTED = ClassWeights(((0, 1.0), (1, 6.0)))
LOGITS = "binary_cross_entropy_with_logits"
SHAPES = {"kernel": (4, 1)}


def dense(number: int, name: str) -> PairLayer:
    return PairLayer(number, f"{name}: dense", "dense", shapes=SHAPES)


def loss(number: int, name: str, kind: str, weight: float, behind: int | None) -> PairLayer:
    settings = {"reduction": "mean", "weight": weight}
    return PairLayer(number, f"{name}: {kind}", kind, settings, behind=behind)


def facts(framework: str, names: tuple[str, str], *found: PairLayer) -> PairFacts:
    layers = dense(0, names[0]), dense(1, names[1])
    return PairFacts(framework, layers, 0, losses=found, targets=(0, 1))


KERAS = facts(
    "keras",
    ("age", "height"),
    loss(2, "age", "mse_loss", 1.0, 0),
    loss(3, "height", "l1_loss", 0.3, 1),
)
BOTH = WeightMap(tuple(LayerPair(dense(k, "a"), dense(k, "b")) for k in range(2)))
NUMBERS = np.random.default_rng(0).random((2, 8, 1))
ROWS = PairRows(np.zeros((8, 2)), (NUMBERS[0], NUMBERS[1]), 4)


def run_of(port: PairFacts, rows: PairRows = ROWS) -> PairRun:
    return PairRun(lambda job: (), KERAS, port, (), rows, BOTH, rows_a=ROWS)


def named(port: PairFacts, rows: PairRows = ROWS) -> dict[str, list[tuple[Mend, ...]]]:
    found: dict[str, list[tuple[Mend, ...]]] = {}
    for each in losses.hypotheses(run_of(port, rows)):
        found.setdefault(each.cause.name, []).append(each.mends)
    return found


def test_losses_belong_together_by_what_they_look_at() -> None:
    port = facts("torch", ("x", "y"), loss(2, "", "l1_loss", 1.0, 1), loss(3, "", "mse_loss", 1, 0))
    pairs = losses.matched(KERAS, port, BOTH)
    assert [(a.kind, b.kind) for a, b in pairs if a and b] == [("mse_loss",) * 2, ("l1_loss",) * 2]
    unknown = facts("torch", ("x", "y"), *(replace(x, behind=None) for x in KERAS.losses))
    assert [(a, b) for a, b in losses.matched(KERAS, unknown, BOTH) if a is None or b is None] == []


def test_weights_are_tried_one_by_one_and_together() -> None:
    port = facts(
        "torch", ("x", "y"), loss(2, "", "mse_loss", 0.3, 0), loss(3, "", "l1_loss", 0.0, 1)
    )
    found = named(port)
    assert found["loss_weight"] == [
        (Mend(2, "added", 0.7),),
        (Mend(2, "added", 0.7), Mend(3, "added", 0.3)),
    ]
    assert found["loss_left_out"] == [(Mend(3, "added", 0.3),)]
    assert found["targets_swapped"] == [(Mend(None, "targets", (1, 0)),)]


def test_a_loss_that_is_not_there_is_added_with_its_own_target() -> None:
    port = facts("torch", ("x", "y"), loss(2, "", "mse_loss", 1.0, 0))
    other_order = replace(ROWS, y=(NUMBERS[1], NUMBERS[0][:, 0]))
    ((mend,),) = named(replace(port, loss=port.losses[0], losses=()), other_order)["loss_left_out"]
    assert (mend.layer, mend.field) == (1, "term")
    kind, _, weight, place = mend.value
    assert (kind, weight, place) == ("l1_loss", 0.3, 0)


@pytest.mark.parametrize(
    ("names", "exchanged"),
    [
        (("head_age", "head_height"), False),
        (("head_height", "head_age"), True),
        (("head1", "head2"), False),
    ],
)
def test_outputs_are_matched_by_their_names(names: tuple[str, str], exchanged: bool) -> None:
    port = facts("torch", names)
    pairs = tuple(LayerPair(a, b) for a, b in zip(KERAS.layers, port.layers, strict=True))
    found = by_names(KERAS, port, WeightMap(pairs))
    assert [pair.b.number for pair in found.pairs] == ([1, 0] if exchanged else [0, 1])


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "value", "fix"),
    [
        (WEIGHTED, None, LOGITS, "none instead of 0: 1, 1: 6", "pos_weight=torch.tensor(6)"),
        (None, WEIGHTED, LOGITS, "0: 1, 1: 6 instead of none", "no weight and no pos_weight"),
        (WEIGHTED, ClassWeights(((0, 1.0), (1, 6.0)), divides=True), "cross_entropy",
         "0: 1, 1: 6, divided by their sum instead of 0: 1, 1: 6", 'reduction="none"'),
        (WEIGHTED, ClassWeights(((1, 6.0),)), LOGITS, "", ""),
        (ClassWeights(((0, 1.0), (1, 1.0))), None, LOGITS, "", ""),
    ],
    ids=["missing", "extra", "divided", "the same", "all of them 1"],
)  # fmt: skip
def test_weights_of_classes(
    ours: ClassWeights | None, theirs: ClassWeights | None, kind: str, value: str, fix: str
) -> None:
    layers = (dense(0, "out"),)
    one = PairLayer(1, "loss", kind)
    a = PairFacts("keras", layers, 0, class_weights=ours)
    b = PairFacts("torch", layers, 0, loss=one, class_weights=theirs)
    found = list(losses._class_weights(a, b))
    if not value:
        assert not found
        return
    (only,) = found
    assert only.mends == (Mend(1, "class_weights", ours),)
    assert (only.cause.name, only.cause.value) == ("class_weights", value)
    assert fix in only.cause.fix


def test_weights_of_classes_in_a_mean_over_rows() -> None:
    classes = np.array([[0], [1], [1], [0]])
    assert WEIGHTED.of(classes).tolist() == [1, 6, 6, 1]
    divided = replace(WEIGHTED, divides=True).of(classes)
    assert divided.mean() == 1
    assert divided[1] == 6 * divided[0]
