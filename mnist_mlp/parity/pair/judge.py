"""One step of two models, stage by stage: where they first differ, and by how much.

The limits are for float64, in which two frameworks that compute the same agree to 4e-14 (outputs
and gradients of convolutions, normalisation, pooling and dense layers), and two that do not are at
least 1e-8 apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product

import numpy as np

from mnist_mlp.parity.pair.arrange import axis_of, laid_like, steps_like, windows_like
from mnist_mlp.parity.pair.results import results_apart
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.padding import Padding, without_padding
from mnist_mlp.ports.pair import STATISTICS, PairLayer, PairStep, layer_and_role
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.reference import Array, Tensors

LIMITS = {"forward": 1e-11, "loss": 1e-11, "gradient": 1e-10, "update": 1e-10, "state": 1e-10}
"""Largest relative difference of one computation in two frameworks: to the largest element of an
output or gradient, to the largest movement of a tensor."""

ZERO = 1e-9
"""A gradient below this share of the network's largest is zero but for rounding, as that of a bias
in front of batch normalisation."""

NORMALISED = ("batch_norm", "layer_norm")
"""Layers that give their features in the order in which they take them."""

BY_CHANNELS = ("conv", "batch_norm")
"""Layers whose features may be the first axis of a row as well as the last."""

CROPPED = ("conv", "conv_transpose")
"""Layers whose result a model may crop. What the next layer gets is compared whole."""

MOVES = 1e-3
"""A gradient of more than this share of the original's would move what that moves; a smaller one
may be too small for any movement."""

NOTHING = 1e-300
"""So that nothing is divided by zero."""

MOST_CALLS = 4
"""So many calls of one layer are compared in any order."""

NONE: Mapping[str, float] = {}

STAGES = ("forward", "loss", "gradient", "update", "state")
"""In the order of cause and effect."""


@dataclass(frozen=True)
class Finding:
    """The first difference in one stage of one step.

    `size` is relative. `layer` is the number of the layer among those with weights. In the forward
    stage, `tensor` is `inputs` (what comes to the layer differs) or `outputs` (though it does not).
    """

    stage: str
    step: int
    layer: int | None
    tensor: str
    size: float
    got: str
    expected: str

    @property
    def key(self) -> tuple[int, int, int, str]:
        """Where it stands in the order of cause and effect."""
        layer = -1 if self.layer is None else 2 * self.layer + (self.tensor == "outputs")
        return self.step, STAGES.index(self.stage), layer, self.tensor


@dataclass
class Judged:
    """What a run of steps showed: the first finding of each stage, and margins.

    `margins` are the largest differences as shares of the limits; what the first layer gets is the
    margin of `data`, unless work by hand is `in_front` of it.
    `zero` names gradients that are zero by structure, `rough` what was not computed in float64.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    zero: set[str] = field(default_factory=set)
    rough: set[str] = field(default_factory=set)
    in_front: bool = False

    def note(
        self,
        stage: str,
        place: tuple[int, int | None, str],
        size: float,
        shown: Sequence[str],
        *,
        limit: float = 0.0,
    ) -> None:
        """Enter one comparison; a number that is not finite is as far away as can be.

        `place` is step, layer and tensor; a `limit` wider than the stage's stands instead of it.
        """
        step, layer, tensor = place
        limit = max(limit, LIMITS[stage])
        size = size if np.isfinite(size) else float("inf")
        rungs = [stage]
        if (layer, tensor) == (0, "inputs"):
            # Behind work by hand, they tell of the data only if they agree.
            rungs = ["data"] if not self.in_front else [stage, *(["data"] if size <= limit else [])]
        for rung in rungs:
            self.margins[rung] = max(self.margins.get(rung, 0.0), size / limit)
        if size <= limit:
            return
        found = Finding(stage, step, layer, tensor, size, *shown)
        if stage not in self.findings or found.key < self.findings[stage].key:
            self.findings[stage] = found

    @property
    def first(self) -> Finding | None:
        """The first in the chain from the inputs to the gradient, else of the update or state."""
        chain = [self.findings[s] for s in STAGES if s in self.findings]
        return min(chain, key=lambda f: (f.key[1] >= 3, f.key), default=None)


def judge(
    a: Sequence[PairStep],
    b: Sequence[PairStep],
    weights: WeightMap,
    *,
    gradient_limits: Mapping[str, float] = NONE,
    unmoved: Collection[str] = (),
) -> Judged:
    """Compare steps that both sides took from the same state.

    `gradient_limits` are those of tensors that are less exact than most. Of tensors that are
    `unmoved` in the port, movements are not compared, nor gradients after the first step. Behind a
    difference, later stages of a step are not compared, but for the update: it is made of the
    other side's gradient.
    """
    seen = Judged(in_front=weights.in_front)
    for number, (ours, theirs) in enumerate(zip(a, b, strict=True), start=1):
        seen.rough |= {*ours.rough, *theirs.rough}
        agree = _forward(seen, number, ours, theirs, weights)
        if "forward" not in seen.findings:
            _loss(seen, number, ours, theirs)
        if not seen.findings.keys() & {"forward", "loss"}:
            translated = weights.to_a(theirs.gradients, gradients=True)
            cleared = () if number == 1 else unmoved
            mine, other = (
                {name: g for name, g in side.items() if name not in cleared}
                for side in (weights.without_lone(ours.gradients), translated)
            )
            _gradients(seen, number, mine, other, weights, gradient_limits)
        _moves(seen, number, ours, theirs, weights, agree, unmoved)
    return seen


def relative(got: Array | None, expected: Array) -> tuple[float, str, str]:
    """Largest difference over the largest expected element, and the two numbers."""
    if got is None or got.shape != expected.shape:
        shape = "none" if got is None else "x".join(map(str, got.shape[1:]))
        return float("inf"), f"shape {shape}", f"shape {'x'.join(map(str, expected.shape[1:]))}"
    if not expected.size:
        return 0.0, "", ""
    apart = np.abs(got - expected)
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(apart), np.inf, apart))), apart.shape)
    size = float(apart[worst]) / max(float(np.abs(expected).max()), NOTHING)
    return size, f"{got[worst]:.12g}", f"{expected[worst]:.12g}"


def inputs_of(pair: LayerPair, a: PairStep, b: PairStep) -> tuple[float, str, str]:
    """How far the inputs of a layer are apart."""
    return _at(pair, a, b, outputs=False)


def _at(pair: LayerPair, a: PairStep, b: PairStep, *, outputs: bool) -> tuple[float, str, str]:
    ours = (a.outputs if outputs else a.inputs).get(pair.a.number)
    theirs = (b.outputs if outputs else b.inputs).get(pair.b.number)
    if ours is None or theirs is None:
        return float("inf"), "not run", "run"
    order = pair.columns if outputs and pair.a.kind not in NORMALISED else pair.rows
    if order is not None and pair.a.kind in BY_CHANNELS:
        axis = axis_of(theirs, len(order))
        theirs = theirs if axis is None else np.take(theirs, np.argsort(order), axis=axis)
    elif order is not None and theirs.shape == ours.shape:
        theirs = theirs[..., np.argsort(order)]
    # A recurrent layer has its features last, and goes through the axis before.
    laid = theirs if pair.a.kind in RECURRENT else laid_like(theirs, ours)
    if a.padding is not None and b.padding is not None:
        masked = any(side.settings.get("masked") for side in (pair.a, pair.b))
        if a.padding.alike != b.padding.alike or masked:
            return _without_padding(pair, ours, theirs, laid, (a.padding, b.padding))
    if laid is None and outputs and pair.a.kind in CROPPED:
        laid, ours = windows_like(theirs, ours) or (laid, ours)
    if laid is None and not outputs and pair.a.kind == pair.b.kind == "conv":
        # A port may pad in front of a convolution that the original lets pad.
        around = product(_padded(ours, pair.a), _padded(theirs, pair.b))
        sizes = [relative(laid_like(y, x), x) for x, y in around]
        # What has zeros around it, and what has not, is told by the outputs.
        bare = _without_rim(ours), _without_rim(theirs)
        sizes.append(relative(laid_like(bare[1], bare[0]), bare[0]))
        return min(sizes)
    if (
        laid is None
        and pair.a.kind == "dense"
        and abs(b.loss - a.loss) <= LIMITS["loss"] * abs(a.loss)
    ):
        # One side may read a step behind its dense layer, which the other reads in front of it.
        laid, ours = steps_like(theirs, ours) or (laid, ours)
    return relative(laid, ours)


NOT_COMPARED = 0.0, "", ""
"""Of a layer that has other steps than its model's rows, where the two sides' rows are not padded
alike. What comes of it is compared behind it."""


def _without_padding(
    pair: LayerPair, ours: Array, theirs: Array, laid: Array | None, of: tuple[Padding, Padding]
) -> tuple[float, str, str]:
    """How far two layers are apart at the steps that are no padding, where that stands elsewhere or
    is masked.

    What has no steps is compared as it is.
    """
    same = laid is not None and laid.shape == ours.shape
    both: list[tuple[Array, Array | None]] = [(ours, laid)] if same else []
    backwards = {bool(side.settings.get("backwards")) for side in (pair.a, pair.b)}
    for turned in {False, *backwards}:
        for x, y in without_padding(ours, theirs, *of, backwards=turned):
            both.append((x, y if y.shape == x.shape else laid_like(y, x)))
    if not both and min(ours.ndim, theirs.ndim) > 2:
        return NOT_COMPARED
    return min((relative(y, x) for x, y in both), default=relative(laid, ours))


def _without_rim(x: Array) -> Array:
    """Without zeros around all rows, in each axis of a row."""
    for axis in range(1, x.ndim):
        filled = np.flatnonzero(x.any(axis=tuple(n for n in range(x.ndim) if n != axis)))
        if len(filled):
            x = x.take(range(filled[0], filled[-1] + 1), axis)
    return x


def _padded(x: Array, layer: PairLayer) -> list[Array]:
    """A convolution's inputs with what it adds around them; two, where the channels may be the
    first axis of a row as well as the last."""
    pads = [tuple(pair) for pair in layer.settings["pads"]]
    channels = layer.shapes["kernel"][-2] * layer.settings["groups"]
    widths = {-1: [(0, 0), *pads, (0, 0)], 1: [(0, 0), (0, 0), *pads]}
    return [np.pad(x, width) for axis, width in widths.items() if x.shape[axis] == channels]


def _forward(seen: Judged, step: int, a: PairStep, b: PairStep, weights: WeightMap) -> int:
    """How many of the layers' inputs and outputs agree before the first that does not."""
    for layer, pair in enumerate(weights.pairs):
        for tensor in ("inputs", "outputs"):
            size, *shown = _at(pair, a, b, outputs=tensor == "outputs")
            seen.note("forward", (step, layer, tensor), size, shown)
            if not size <= LIMITS["forward"]:
                return 2 * layer + (tensor == "outputs")
    if not weights.pairs:
        _of_results(seen, step, a, b)
    return 2 * len(weights.pairs)


def calls_alike(
    a: Sequence[PairStep], b: Sequence[PairStep], weights: WeightMap
) -> tuple[int, ...] | None:
    """Whether layers that run more than once get and give the same in all of their calls: the
    port's calls in the original's order, or None if they differ, or are not known."""
    known = [pair for pair in weights.pairs if pair.a.number in a[0].later]
    counts = {len(side[0].later.get(n, ())) + 1 for pair in known
              for side, n in ((a, pair.a.number), (b, pair.b.number))}  # fmt: skip
    here = {pair.b.number for pair in known} == b[0].later.keys()
    if not known or not here or len(counts) > 1 or max(counts) > MOST_CALLS:
        return None
    for order in permutations(range(counts.pop())):
        if all(
            _call_apart(pair, ours, theirs, (k, order[k]), outputs=outputs) <= LIMITS["forward"]
            for ours, theirs in zip(a, b, strict=False)
            for pair in known
            for k in range(len(order))
            for outputs in (False, True)
        ):
            return order
    return None


def _call_apart(
    pair: LayerPair, a: PairStep, b: PairStep, calls: tuple[int, int], *, outputs: bool
) -> float:
    """How far two calls of a layer are apart, each by its number on its side."""
    sides = []
    for step, number, call in ((a, pair.a.number, calls[0]), (b, pair.b.number, calls[1])):
        if not call:
            sides.append(step)
            continue
        x, y = step.later[number][call - 1]
        sides.append(replace(step, inputs={number: x}, outputs={number: y}))
    return _at(pair, sides[0], sides[1], outputs=outputs)[0]


def _of_results(seen: Judged, step: int, a: PairStep, b: PairStep) -> None:
    """What two networks give of which no layer is known, where it is the same.

    One may give scores and the other what they stand for, so that a difference is none of itself:
    the loss, which is made of it, then tells.
    """
    size = results_apart(b.result, a.result)
    if size is not None and size <= LIMITS["forward"]:
        for rung in ("data", "forward"):
            seen.margins[rung] = max(seen.margins.get(rung, 0.0), size / LIMITS["forward"])


def _loss(seen: Judged, step: int, a: PairStep, b: PairStep) -> None:
    size = abs(b.loss - a.loss) / max(abs(a.loss), NOTHING)
    seen.note("loss", (step, None, "loss"), size, (f"{b.loss:.12g}", f"{a.loss:.12g}"))


def _gradients(
    seen: Judged,
    step: int,
    a: Tensors,
    b: Tensors,
    weights: WeightMap,
    limits: Mapping[str, float],
) -> None:
    largest = max((float(np.abs(g).max()) for g in (*a.values(), *b.values())), default=0.0)
    for name in sorted({*a, *b}, key=weights.order):
        layer, role = weights.place(name), layer_and_role(name)[1]
        if name not in a or name not in b:
            pair = weights.every[layer]
            if role not in pair.a.shapes or pair.role_in_b(role) not in pair.b.shapes:
                continue  # the tensor itself is missing on one side, which is told there
            one_sided = ("none", "a gradient") if name in a else ("a gradient", "none")
            seen.note("gradient", (step, layer, role), float("inf"), one_sided)
            continue
        if max(float(np.abs(g[name]).max(initial=0.0)) for g in (a, b)) <= ZERO * largest:
            seen.zero.add(name)
            continue
        size, *shown = relative(b[name], a[name])
        limit = limits.get(name, 0.0)
        seen.note("gradient", (step, layer, role), size, shown, limit=limit)


def unmoved_by(a: Sequence[PairStep], b: Sequence[PairStep], weights: WeightMap) -> list[str]:
    """Tensors that have a gradient in each step of the port, and are never moved there, though the
    original moves them; of a port that moves none, only those that its optimizer was not given."""
    still: dict[str, bool] = {}
    for ours, theirs in zip(a, b, strict=True):
        before, after = weights.to_a(theirs.before), weights.to_a(theirs.after)
        gradients = weights.to_a(theirs.gradients, gradients=True)
        known = ours.gradients.keys() & gradients.keys() & after.keys() & before.keys()
        for name in known - zero_by_structure(ours.gradients):
            sizes = [float(np.abs(g[name]).max(initial=0.0)) for g in (gradients, ours.gradients)]
            here = sizes[0] > MOVES * sizes[1] and np.array_equal(before[name], after[name])
            still[name] = still.get(name, True) and here
    moves = {
        name
        for step in a
        for name in step.gradients.keys() & step.after.keys() & step.before.keys()
        if not np.array_equal(step.before[name], step.after[name])
    }
    found = [name for name, stays in still.items() if stays and name in moves]
    if len(found) == len(still) and any(step.optimizer for step in b):
        return []
    return sorted(found, key=weights.order)


def _moves(
    seen: Judged,
    step: int,
    a: PairStep,
    b: PairStep,
    weights: WeightMap,
    agree: int,
    unmoved: Collection[str],
) -> None:
    """What a step leaves: moved weights, and running statistics of layers whose inputs agree."""
    after = weights.to_a(b.after)
    before = weights.to_a(b.before)
    ours_before, ours_after = weights.of_a(a.before), weights.of_a(a.after)
    zero = zero_by_structure(a.gradients)
    theirs = weights.to_a(b.gradients, gradients=True)  # one that is missing is told there
    for name in sorted({*ours_after} & {*after}, key=weights.order):
        layer, role = weights.place(name), layer_and_role(name)[1]
        statistic = role in STATISTICS
        if name in unmoved:
            continue
        if statistic and agree <= 2 * layer:
            continue
        if not statistic and (name not in a.gradients or name in zero or name not in theirs):
            continue
        ours = ours_before[name]
        moved = after[name] - before[name]
        averaged = a.inputs.get(weights.every[layer].a.number) if role == "mean" else None
        size, *shown = moved_apart(ours + moved, ours_after[name], ours, of=averaged)
        stage = "state" if statistic else "update"
        seen.note(stage, (step, layer, role), size, shown)


def moved_apart(
    got: Array, expected: Array, before: Array, *, of: Array | None = None
) -> tuple[float, str, str]:
    """How far two movements of a tensor are apart, and the numbers.

    A running mean is one `of` numbers that may cancel each other: behind a normalisation and a
    layer without bias, it is nothing but their rounding.
    """
    size, *shown = relative(got - before, expected - before)
    # What is left of two numbers that are subtracted has their rounding errors.
    eps = float(np.finfo(np.float64).eps)
    rounding = 4 * eps * float(np.abs(expected).max(initial=0.0))
    if of is not None:
        rounding = max(rounding, 64 * eps * float(np.abs(of).max(initial=0.0)))
    if float(np.abs(got - expected).max(initial=0.0)) <= rounding:
        size = 0.0
    return size, shown[0], shown[1]


def zero_by_structure(gradients: Tensors) -> set[str]:
    """Gradients that are nothing but rounding; optimizers that divide by their size make full
    steps of them."""
    sizes = {name: float(np.abs(g).max(initial=0.0)) for name, g in gradients.items()}
    largest = max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if 0 < size <= ZERO * largest}
