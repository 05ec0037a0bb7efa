"""Which lines of two users' files made the layers that a difference is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnist_mlp.parity.findings import Side
from mnist_mlp.parity.pair.judge import Finding
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.segments import Beside, at_its_source, side_by_side
from mnist_mlp.parity.pair.weight_map import WeightMap
from mnist_mlp.ports.lines import UserLine
from mnist_mlp.ports.pair import Mend, PairLayer

Lines = dict[Side, UserLine]


def lines_of(finding: Finding, mends: Sequence[Mend], run: PairRun) -> Lines:
    """Of what an experiment changed to remove a difference; without one, of the layer it is at.

    Empty where that is no layer, but the loss or the optimizer.
    """
    for mend in mends:
        if mend.layer is not None:
            return _of_change(mend, run)
    return {} if mends else _of_place(finding, run.weights)


def of_pair(a: PairLayer | None, b: PairLayer | None) -> Lines:
    """Where two layers are made."""
    sides: tuple[tuple[Side, PairLayer | None], ...] = (("a", a), ("b", b))
    return {side: x.line for side, x in sides if x is not None and x.line is not None}


def of_weights(weights: WeightMap, place: int) -> Lines:
    """Where the layer `place` of those with weights is made."""
    pair = weights.every[place]
    return of_pair(pair.a, pair.b)


def _of_change(mend: Mend, run: PairRun) -> Lines:
    loss = next((x for x in run.facts_b.all_losses if x.number == mend.layer), None)
    if loss is not None:  # one loss is known by its role, of several each has its line
        return of_pair(None, loss) if run.facts_b.losses else {}
    found = next((x for x in run.facts_b.layers if x.number == mend.layer), None)
    if mend.field in ("after", "before"):
        kind, _ = mend.value
        lacking = [x for x in _beside(run) if x.b is None and x.a is not None and x.a.kind == kind]
        # Several may be missing: that which was tried behind this layer comes first.
        known = run.weights, run.facts_a.layers, run.facts_b.layers
        lacking.sort(key=lambda x: at_its_source(x, *known).behind != mend.layer)
        return _missing(lacking[0].a if lacking else None, found)
    for pair in run.weights.every:
        if pair.b.number == mend.layer:
            return of_pair(pair.a, pair.b)
    counterpart = next((each.a for each in _beside(run) if each.b is found), None)
    return of_pair(counterpart, found)


def _missing(layer: PairLayer | None, before: PairLayer | None) -> Lines:
    """What the port lacks: the original's line, and the port's behind which it should stand."""
    lines = of_pair(layer, before)
    if "b" in lines:
        lines["b"] = lines["b"].as_role("before")
    return lines


def _beside(run: PairRun) -> Iterator[Beside]:
    for index in range(len(run.weights.pairs) + 1):
        yield from side_by_side(run.facts_a.layers, run.facts_b.layers, run.weights, index)


def _of_place(finding: Finding, weights: WeightMap) -> Lines:
    """A difference without a name."""
    if finding.layer is None or finding.stage == "update":
        return {}
    if finding.stage == "forward" and finding.tensor != "outputs":
        if finding.layer == 0:
            return {}
        lines = of_weights(weights, finding.layer - 1)
        return {side: line.as_role("before") for side, line in lines.items()}
    return of_weights(weights, finding.layer)
