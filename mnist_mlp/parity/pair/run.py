"""The two models at work: the original runs freely, the port from the original's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np

from mnist_mlp.parity.pair.arrange import (
    axis_of,
    feature_order,
    flattened_by_channels,
    kept_order,
    laid_like,
)
from mnist_mlp.parity.pair.attention import KIND as ATTENTION
from mnist_mlp.parity.pair.decays import Penalties, change_decay, with_penalties, without
from mnist_mlp.parity.pair.heads import exchanged, names_alike
from mnist_mlp.parity.pair.judge import LIMITS, STAGES, Judged, inputs_of, judge
from mnist_mlp.parity.pair.lengths import PADDINGS, drawn_for, padded_as_meant
from mnist_mlp.parity.pair.schedules import Schedules
from mnist_mlp.parity.pair.weight_map import LayerPair, WeightMap
from mnist_mlp.ports.draws import MAPS, Draw
from mnist_mlp.ports.inputs import Inputs, arrays_of, each
from mnist_mlp.ports.padding import Padding
from mnist_mlp.ports.pair import Forced, Mend, PairFacts, PairJob, PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.recurrent import KINDS as RECURRENT
from mnist_mlp.ports.reported import Reports
from mnist_mlp.reference import Array, Tensors

EPOCHS = 2
"""Judged epochs: what happens once in each is seen, and the optimizers' memories matter."""

OUTSIDE = ("inputs", "targets", "column", "axes", "loss_scale", "loss_shift", *PADDINGS)
"""Experiments outside of the port: on its rows, and on the loss that it gives."""

AGREED = len(STAGES), 0
"""How far a step agrees that does so to its gradients."""


def _padding_of(rows: PairRows, step: int) -> Padding | None:
    """That of the rows of an update, from 0."""
    return None if rows.padding is None else rows.padding.of(list(rows.rows_of(step)))


def _with_padding(steps: Sequence[PairStep], rows: PairRows) -> tuple[PairStep, ...]:
    """Steps with that of their rows."""
    if rows.padding is None:
        return tuple(steps)
    return tuple(replace(x, padding=_padding_of(rows, n)) for n, x in enumerate(steps))


Fit = Callable[[PairJob], tuple[PairStep, ...]]

Reported = Callable[[], Reports]


@dataclass(eq=False)
class PairRun:
    """Both sides, opened in float64 and fed; `weights` learns the orders of
    features that the two frameworks flatten otherwise, and `draw_orders` those of the draws of a
    dropout between flattening and a dense layer, by their number in a step; `turned` are draws
    whose axes are exchanged. `reports` are what the port reported of the epochs as it stands.
    `penalties_b` are those in the port's loss that count as a weight decay (`penalties`).
    `heads_open` says that its losses would be right if its outputs were each other, of which
    their names tell nothing. How tensors move that are `unmoved` is not compared. `others` are
    other ways to match weights of no layer, of which shapes do not tell which is right; `untried`
    says that there are more. In the end, `agrees` says that steps agree to their gradients."""

    fit_b: Fit
    facts_a: PairFacts
    facts_b: PairFacts
    steps_a: tuple[PairStep, ...]
    rows_b: PairRows
    weights: WeightMap
    epochs: int = EPOCHS
    gradient_limits: Mapping[str, float] = field(default_factory=dict)
    schedules: Schedules | None = None
    penalties_b: Penalties = field(default_factory=dict)
    draw_orders: dict[int, Array] = field(default_factory=dict)
    turned: set[int] = field(default_factory=set)
    reported_b: Reported = Reports
    reports: Reports = field(default_factory=Reports)
    rows_a: PairRows | None = None
    heads_open: bool = False
    unmoved: tuple[str, ...] = ()
    _heads_looked_for: bool = False
    others: Sequence[WeightMap] = ()
    untried: bool = False
    agrees: bool = False
    _settled: set[str] = field(default_factory=set)
    _judged: dict[str, Judged] = field(default_factory=dict)
    _own: Sequence[PairStep] = ()

    def __post_init__(self) -> None:
        if self.rows_a is not None:
            self.steps_a = _with_padding(self.steps_a, self.rows_a)
        self.weights = self._placed(self.weights)

    def _placed(self, weights: WeightMap) -> WeightMap:
        """With it said whether weights of no layer work in front of the first layer: then it gets
        something else than the rows, scaled perhaps."""
        if not weights.own or not weights.pairs or self.rows_a is None:
            return weights
        got = self.steps_a[0].inputs[weights.pairs[0].a.number]
        first = self.rows_a.first(self.rows_a.batch_size)
        given = [laid_like(np.asarray(x, np.float64), got) for x in arrays_of(first.x)]
        return replace(weights, in_front=not any(x is not None and _in_line(x, got) for x in given))

    def steps_b(
        self, mends: Sequence[Mend] = (), *, first_only: bool = False
    ) -> Sequence[PairStep]:
        """Steps of the port from the original's states."""
        steps = self.steps_a[:1] if first_only else self.steps_a
        instead = bool(self.penalties_b) and change_decay(mends)
        penalties = {} if instead else self.penalties_b
        if instead and not any(mend.field == "decoupled" for mend in mends):
            mends = [*mends, Mend(None, "decoupled", value=False)]
        rows, epochs = self.rows_b, self.epochs
        for mend in mends:
            if mend.field in PADDINGS:
                rows = padded_as_meant(rows, mend)
            elif mend.field == "inputs":
                rows = replace(rows, x=in_order(rows.x, mend.value))
            elif mend.field == "targets":
                rows = replace(rows, y=in_order(rows.y, mend.value))
            elif mend.field == "column":
                rows = replace(rows, y=each(lambda y: y[:, None], rows.y))
            elif mend.field == "axes":
                moved = {"first": _channels_first, "last": _channels_last}[mend.value]
                rows = replace(rows, x=each(moved, rows.x))
        forced = tuple(
            self._forced(step, penalties, _padding_of(rows, number))
            for number, step in enumerate(steps)
        )
        scales = [mend.value for mend in mends if mend.field == "loss_scale"]
        shifts = [float(mend.value) for mend in mends if mend.field == "loss_shift"]
        mends = [mend for mend in mends if mend.field not in OUTSIDE]
        if first_only:
            rows, epochs = rows.first(rows.batch_size), 1
        validation = None if mends or first_only else tuple(self._ends())
        found = self.fit_b(PairJob(rows, epochs, forced, tuple(mends), validation))
        found = _with_padding(found, rows)
        found = without(found, self.penalties_b) if self.penalties_b else found
        for factors in scales:
            found = tuple(map(_scaled, found, factors))
        return tuple(replace(step, loss=step.loss + sum(shifts)) for step in found)

    def _forced(self, step: PairStep, penalties: Penalties, padding: Padding | None) -> Forced:
        """What the port is given in one step."""
        before = self.weights.to_b(step.before)
        gradients = self.weights.to_b(step.gradients, gradients=True)
        draws = self.weights.draws_to_b(drawn_for(self._draws(step), step.padding, padding))
        return Forced(before, with_penalties(gradients, before, penalties), draws)

    def _ends(self) -> Iterator[Tensors]:
        """The original's weights at the end of each epoch, as the port has them."""
        steps = self.rows_b.steps
        for last in self.steps_a[steps - 1 : steps * self.epochs : steps]:
            yield self.weights.to_b(last.after)

    def _draws(self, step: PairStep) -> tuple[Draw, ...]:
        made = []
        for n, draw in enumerate(step.draws):
            keep = draw.keep
            if n in self.draw_orders:
                keep = keep[..., self.draw_orders[n]]
            if n in self.turned:
                keep = keep.swapaxes(1, 2)
            made.append(replace(draw, keep=keep))
        return tuple(made)

    def judged(self, mends: Sequence[Mend] = ()) -> Judged:
        """How far both sides are apart, with experiments on the port in effect."""
        key = repr(tuple(mends))  # their values may be dictionaries
        if key not in self._judged:
            judged = self._judge(mends)
            found = judged.findings.get("forward")
            if found is not None and found.tensor == "inputs" and self._settle_orders(mends):
                self._judged.clear()
                judged = self._judge(mends)
            chained = judged.findings.keys() & set(STAGES[:3])
            if chained and not mends and self.settle_own(mends):
                judged = self._judge(mends)
            if "loss" in judged.findings and "forward" not in judged.findings:
                self._look_for_heads(mends)
            self._judged[key] = judged
        return self._judged[key]

    def settle_own(self, mends: Sequence[Mend]) -> bool:
        """Find weights of no layer that were matched the wrong way round: the values say so."""
        key = repr(tuple(mends))
        if key in self._settled or not self.others:
            return False
        self._settled.add(key)
        before, best, furthest = self.weights, self.weights, self._first_chained(mends)
        for other in self.others:
            alike = [(p.a.number, p.b.number) for p in other.pairs] == [
                (p.a.number, p.b.number) for p in before.pairs
            ]
            self.weights = replace(other, pairs=before.pairs) if alike else self._placed(other)
            at = self._first_chained(mends)
            # With other layers matched, less is compared on the way.
            if at == AGREED or (alike and at > furthest):
                best, furthest = self.weights, at
            if at == AGREED:
                break
        self.weights = best
        if best is not before:
            self._judged.clear()
        return best is not before

    def _first_chained(self, mends: Sequence[Mend]) -> tuple[int, int]:
        """How far the first step agrees, from its inputs to its gradients."""
        step = self.steps_b(mends, first_only=True)
        found = judge(self.steps_a[:1], step, self.weights).findings
        return min(
            ((STAGES.index(f.stage), f.key[2]) for f in found.values() if f.stage in STAGES[:3]),
            default=AGREED,
        )

    def _look_for_heads(self, mends: Sequence[Mend]) -> None:
        """Whether another order of the outputs, of which names tell as much, has the same loss."""
        if self._heads_looked_for:
            return
        self._heads_looked_for = True
        before, first = self.weights, self.steps_a[:1]
        for other in exchanged(self.facts_a, before):
            if names_alike(self.facts_a, self.facts_b, other) < names_alike(
                self.facts_a, self.facts_b, before
            ):
                continue
            self.weights = other
            step = self.steps_b(mends, first_only=True)
            self.weights = before
            self.heads_open |= not {"forward", "loss"} & judge(first, step, other).findings.keys()

    def own_steps(self) -> Sequence[PairStep]:
        """Steps of the port as it stands."""
        self.judged()
        return self._own

    def _judge(self, mends: Sequence[Mend]) -> Judged:
        steps = self.steps_b(mends)
        if not mends:
            self._own, self.reports = steps, self.reported_b()
        return judge(
            self.steps_a,
            steps,
            self.weights,
            gradient_limits=self.gradient_limits,
            unmoved=self.unmoved,
        )

    def leave_unmoved(self, names: Sequence[str]) -> None:
        """No longer compare how some tensors move."""
        self.unmoved = tuple(names)
        self._judged.clear()

    def _settle_orders(self, mends: Sequence[Mend]) -> bool:
        """Find layers that were matched the wrong way round, and dense layers whose inputs or
        outputs stand in another order, as after flattening.

        They are looked for up to the first layer that differs otherwise. That an order is right is
        told by the values.
        """
        before = self.weights
        for _ in self.weights.pairs:
            step = self.steps_b(mends, first_only=True)[0]
            at = self._first_other_inputs(step)
            changed = None
            if at is not None:
                changed = (
                    self._exchanged(at, step)
                    or self._reordered(at, step, mends)
                    or self._concatenated(at, step, mends)
                    or self._projected(at, mends)
                    or self._turned(at, mends)
                )
            if changed is None:
                break
            self.weights = changed
        return self.weights is not before

    @property
    def reordered(self) -> list[LayerPair]:
        """The pairs of which that was found."""
        return [p for p in self.weights.pairs if p.rows is not None or p.columns is not None]

    def _first_other_inputs(self, step: PairStep) -> int | None:
        for index, pair in enumerate(self.weights.pairs):
            if not inputs_of(pair, self.steps_a[0], step)[0] <= LIMITS["forward"]:
                return index
        return None

    def _exchanged(self, at: int, step: PairStep) -> WeightMap | None:
        """With two equal layers matched the other way round, where branches run in another order:
        the values say so."""
        pairs = self.weights.pairs
        for other in range(at + 1, len(pairs)):
            if (
                pairs[other].b.shapes != pairs[at].b.shapes
                or pairs[other].b.kind != pairs[at].b.kind
            ):
                continue
            changed = list(pairs)
            changed[at] = replace(pairs[at], b=pairs[other].b)
            changed[other] = replace(pairs[other], b=pairs[at].b)
            if inputs_of(changed[at], self.steps_a[0], step)[0] <= LIMITS["forward"]:
                return replace(self.weights, pairs=tuple(changed))
        return None

    def _projected(self, at: int, mends: Sequence[Mend]) -> WeightMap | None:
        """With the query, key and value in front of an attention matched in another order: they
        have one input, so that only what comes of them tells them apart."""
        layers = (*self.facts_a.layers, *self.facts_b.layers)
        if not any(layer.kind == ATTENTION for layer in layers):
            return None
        before, pairs = self.weights, self.weights.pairs
        group = [k for k in range(max(at - 3, 0), at) if pairs[k].b.kind == "dense"]
        for order in list(permutations(group))[1:]:
            if any(
                pairs[k].b.shapes != pairs[j].b.shapes for k, j in zip(group, order, strict=True)
            ):
                continue
            changed = list(pairs)
            for k, j in zip(group, order, strict=True):
                changed[k] = replace(pairs[k], b=pairs[j].b)
            self.weights = replace(self.weights, pairs=tuple(changed))
            step = self.steps_b(mends, first_only=True)[0]
            better, self.weights = self.weights, before
            near = (inputs_of(changed[k], self.steps_a[0], step)[0] for k in (*group, at))
            if all(apart <= LIMITS["forward"] for apart in near):
                return better
        return None

    def _reordered(self, at: int, step: PairStep, mends: Sequence[Mend]) -> WeightMap | None:
        """With the rows of a dense layer, or the columns of the one before, in torch's order."""
        pair, first = self.weights.pairs[at], self.steps_a[0]
        ours, theirs = first.inputs[pair.a.number], step.inputs.get(pair.b.number)
        if theirs is None:
            return None
        if pair.a.kind == "dense" and pair.rows is None and theirs.shape == ours.shape:
            for shape in self._shapes_before(pair.a.number, ours.shape[-1]):
                for order in _orders(shape):
                    if _near(theirs, ours[..., order]) or self._drawn_so(at, order, mends):
                        return self.weights.with_orders(at, rows=order)
        return self._with_columns(at, mends) if at and ours.ndim > 2 else None

    def _concatenated(self, at: int, step: PairStep, mends: Sequence[Mend]) -> WeightMap | None:
        """With the parts that a layer's features are put together of in another order, and be they
        of one feature each: it has a weight of its own for each.

        A network's own inputs in another order are no such parts.
        """
        pair, first = self.weights.pairs[at], self.steps_a[0]
        ours, theirs = first.inputs[pair.a.number], step.inputs.get(pair.b.number)
        if not at or theirs is None or pair.rows is not None or pair.a.kind != pair.b.kind:
            return None
        axes = _features_of(pair, ours, theirs)
        if axes is None or theirs.size != ours.size:
            return None
        order = feature_order(theirs, ours, axes)
        if order is None or not _near(np.take(theirs, np.argsort(order), axis=axes[1]), ours):
            order = kept_order(theirs, ours)
            if order is None or not self._drawn_so(at, order, mends):
                return None
        return self.weights.with_orders(at, rows=order, parts=True)

    def _drawn_so(self, at: int, order: Array, mends: Sequence[Mend]) -> bool:
        """Whether a dropout in front of a dense layer gets its features in another order."""
        pair, first = self.weights.pairs[at], self.steps_a[0]
        ours = first.inputs[pair.a.number]
        for number, draw in enumerate(first.draws):
            if draw.keep.shape != ours.shape or number in self.draw_orders:
                continue
            self.draw_orders[number] = order
            again = self.steps_b(mends, first_only=True)[0].inputs.get(pair.b.number)
            if again is not None and _near(again, ours[..., order]):
                return True
            del self.draw_orders[number]
        return False

    def _turned(self, at: int, mends: Sequence[Mend]) -> WeightMap | None:
        """With a draw whose last two axes are of one length the other way round, if that settles
        it: a sequence has its features last in both frameworks, and maps of one axis have not."""
        first = self.steps_a[0]
        for number, draw in enumerate(first.draws):
            if draw.keep.ndim != MAPS - 1 or draw.keep.shape[1] != draw.keep.shape[2]:
                continue
            self.turned ^= {number}
            again = self.steps_b(mends, first_only=True)[0]
            if inputs_of(self.weights.pairs[at], first, again)[0] <= LIMITS["forward"]:
                return replace(self.weights)
            self.turned ^= {number}
        return None

    def _with_columns(self, at: int, mends: Sequence[Mend]) -> WeightMap | None:
        """With the outputs of the dense layer before in another order, if that settles it."""
        before, first, tried = at - 1, self.steps_a[0], self.weights
        dense = tried.pairs[before]
        if dense.a.kind != "dense" or dense.columns is not None:
            return None
        for order in _orders(first.inputs[tried.pairs[at].a.number].shape[1:]):
            if len(order) != first.outputs[dense.a.number].shape[-1]:
                continue
            self.weights = tried.with_orders(before, columns=order)
            again = self.steps_b(mends, first_only=True)[0]
            better, self.weights = self.weights, tried
            if inputs_of(better.pairs[at], first, again)[0] <= LIMITS["forward"]:
                return better
        return None

    def _shapes_before(self, number: int, size: int) -> list[tuple[int, ...]]:
        """Shapes of feature maps of the original that have so many features."""
        first = self.steps_a[0]
        shapes = [first.outputs[n].shape[1:] for n in sorted(first.outputs) if n < number]
        shapes += [x.shape[1:] for x in first.inputs.values()]
        return [s for s in dict.fromkeys(reversed(shapes)) if len(s) > 1 and np.prod(s) == size]


def _features_of(pair: LayerPair, ours: Array, theirs: Array) -> tuple[int, int] | None:
    """The axes of the features that a layer takes, in both models; None if they are not known."""
    if pair.a.kind in ("dense", "layer_norm", *RECURRENT):
        return ours.ndim - 1, theirs.ndim - 1
    if pair.a.kind == "conv" and pair.a.settings.get("groups", 1) == 1:
        n = pair.a.shapes["kernel"][-2]
    elif pair.a.kind == "batch_norm" and pair.a.shapes:
        n = next(iter(pair.a.shapes.values()))[0]
    else:
        return None
    found = axis_of(ours, n), axis_of(theirs, n)
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _scaled(step: PairStep, factor: float) -> PairStep:
    """A step whose loss is multiplied; its update is made of the other side's gradients."""
    gradients = {name: factor * g for name, g in step.gradients.items()}
    return replace(step, loss=factor * step.loss, gradients=gradients)


def _channels_first(x: Array) -> Array:
    """Rows that have their channels first when a model has reshaped them."""
    return np.moveaxis(x, -1, 1).reshape(x.shape)


def _channels_last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1).reshape(x.shape)


def in_order(several: Inputs, order: Sequence[int]) -> Inputs:
    """Several inputs or targets in another order; by name, each gets another's."""
    arrays = arrays_of(several)
    moved = [arrays[k] for k in order]
    if isinstance(several, Mapping):
        return dict(zip(sorted(several), moved, strict=True))
    return tuple(moved)


def _orders(shape: tuple[int, ...]) -> list[Array]:
    """Positions of features flattened with channels first, in those with channels last; and the
    other way round."""
    order = flattened_by_channels(shape)
    first = np.argsort(flattened_by_channels((*shape[1:], shape[0])))
    return [each for each in (order, first) if not np.array_equal(each, np.arange(len(each)))]


def _in_line(x: Array, y: Array) -> bool:
    """Whether numbers are others of the same shape, scaled and moved by constants."""
    from_x, from_y = x - x.mean(), y - y.mean()
    spread = float((from_x**2).sum()) or 1.0
    rest = from_y - (from_x * from_y).sum() / spread * from_x
    return float(np.abs(rest).max()) <= LIMITS["forward"] * float(np.abs(y).max())


def _near(got: Array, expected: Array) -> bool:
    laid = laid_like(got, expected)
    if laid is None:
        return False
    return bool(np.abs(laid - expected).max() <= LIMITS["forward"] * np.abs(expected).max())
