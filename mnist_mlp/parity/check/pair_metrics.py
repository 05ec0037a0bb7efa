"""What two models report of their epochs, having trained on the same rows from the same weights.

A number is judged only if its meaning is known: it calls itself a loss, an accuracy or a squared or
absolute error, the original's follows from the original's own batches by the right formula, and the
port's by that or by a wrong one that people use. All else is told, and is no break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_mlp.parity.causes import metrics
from mnist_mlp.parity.causes.metrics import EpochMeasures, close, right
from mnist_mlp.parity.check.pair_verdict import PairEvidence
from mnist_mlp.parity.findings import Break, Cause, Place
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.ports.inputs import Inputs
from mnist_mlp.ports.pair import PairStep
from mnist_mlp.ports.pair_rows import PairRows
from mnist_mlp.ports.reported import KINDS, Reports, is_held_out
from mnist_mlp.reference import Array, Tensors

OF_LOSSES = ("bits", "perplexity")
"""Formulas that other numbers than losses don't follow."""

Numbers = list[float]


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over the rows, batch by batch: outputs `z` of the last layer with weights, targets
    `y`, both (rows, ...), and losses (batches,), empty where they are not known."""

    z: Sequence[Array]
    y: Sequence[Array]
    losses: Array


@dataclass
class Compared:
    """`count` numbers were compared; `told` says what was not, and why."""

    count: int = 0
    breaks: list[Break] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


Predict = Callable[[Tensors, Inputs], Mapping[int, Array]]


def look_at_metrics(
    seen: PairEvidence, run: PairRun, reports: Reports, rows: PairRows, predict: Predict
) -> None:
    """Enter what the port reported of the epochs of a run, against the original's `reports`.

    `rows` are the original's, and `predict` is `PairSide.predict` of it.
    """
    if not run.weights.whole:
        seen.leave_out("metrics", reason="a tensor has no counterpart")
        return
    if seen.broken("data", "forward", "loss"):
        seen.leave_out("metrics", reason="an earlier rung breaks")
        return
    steps = run.steps_a
    starts = range(rows.batch_size, rows.count, rows.batch_size)
    heads = {loss.behind for loss in run.facts_a.losses}
    targets = np.empty((rows.count, 0))  # of several outputs, only the sum of losses has a formula
    several = not isinstance(rows.y, np.ndarray) or len(heads) > 1
    if isinstance(rows.y, np.ndarray) and not several:
        targets = rows.y
    y = np.split(targets, starts)

    def trained(epoch: int) -> Pass:
        own = steps[epoch * rows.steps : (epoch + 1) * rows.steps]
        z = y if several else [_last_of(step) for step in own]
        return Pass(z, y, np.array([step.loss for step in own]))

    def validated(epoch: int) -> Pass:
        if several:
            return Pass(y, y, np.empty(0))
        found = predict(steps[(epoch + 1) * rows.steps - 1].after, rows.as_one)
        last = max(found)  # the result of the whole model only where no layer is known
        return Pass(np.split(found[last], starts), y, np.empty(0))

    epochs = range(run.epochs)
    alike = not seen.broken("predictions") and not (
        run.facts_a.open_questions or run.facts_b.open_questions
    )
    found = compare(
        reports,
        run.reports,
        [trained(epoch) for epoch in epochs],
        (lambda: [validated(epoch) for epoch in epochs])
        if alike and reports.whole and run.reports.whole
        else None,
        several=several,
    )
    seen.breaks += found.breaks
    seen.compared["metrics"] = found.count
    seen.told += [f"metrics: {text}" for text in found.told]
    if not found.count and not found.breaks:
        seen.leave_out("metrics", reason="; ".join(found.told))


def _last_of(step: PairStep) -> Array:
    """What the last known layer of a step gives, else the whole model."""
    if step.inputs:
        return step.outputs[max(step.inputs)]
    return np.empty(0) if step.result is None else step.result


def compare(
    original: Reports,
    port: Reports,
    training: Sequence[Pass],
    validation: Callable[[], Sequence[Pass]] | None,
    *,
    several: bool = False,
) -> Compared:
    """Every number of the port's that the original reports too.

    With `several` outputs, that is the sum of their losses, by its formula. All else is counted if
    it is one of the original's numbers, and told if it is not.

    `training` are the epochs' passes; `validation` makes those of validation, which are only needed
    where its numbers differ. It is None where they cannot be compared.
    """
    seen = Compared()
    if not original.epochs or not port.epochs:
        whose = "original" if not original.epochs else "port"
        seen.told.append(f"the {whose} reports nothing of its epochs")
        return seen
    for kind in KINDS[:1] if several else KINDS:
        for held_out in (False, True):
            ours, theirs = (_named(side, kind, held_out) for side in (original, port))
            if not ours or not theirs:
                continue
            if held_out and validation is None:
                seen.told.append(f"{', '.join(theirs)}: the two validate otherwise")
                continue
            passes = validation if held_out and validation is not None else lambda: training
            name, expected = next(iter(ours.items()))
            for other, numbers in theirs.items():
                _judge(seen, kind, (name, other), (expected, numbers), passes)
    if several:
        _by_value(seen, original, port, validates=validation is not None)
        return seen
    alone = [name for name in port.epochs[-1] if not port.kind(name)]
    if alone:
        seen.told.append(f"{', '.join(alone)} of the port: what it means is not known")
    if not seen.count and not seen.told:
        seen.told.append("the two report no number of the same meaning")
    return seen


def _by_value(seen: Compared, original: Reports, port: Reports, *, validates: bool) -> None:
    """Numbers of single outputs, which have other names on both sides."""
    if len(original.epochs) != len(port.epochs):
        seen.told.append(f"of {len(port.epochs)} epochs, the original's of {len(original.epochs)}")
        return
    known = [[epoch.get(name, np.nan) for epoch in original.epochs] for name in original.epochs[0]]
    open_ones = []
    for name in port.epochs[0]:
        if port.kind(name) == "loss" or (is_held_out(name) and not validates):
            continue
        numbers = [epoch.get(name, np.nan) for epoch in port.epochs]
        if any(_all_close(numbers, mine) for mine in known):
            seen.count += len(numbers)
        else:
            open_ones.append(f"{name} ({numbers[0]:.9g})")
    if open_ones:
        seen.told.append(
            f"{', '.join(open_ones)} of the port: of several outputs, only the sum of their losses "
            f"is judged, and the original reports no such number"
        )
    if not seen.count and not seen.told:
        seen.told.append("the two report no number that is the same")


def _named(side: Reports, kind: str, held_out: bool) -> dict[str, Numbers]:  # noqa: FBT001
    """The numbers of a kind that are there for each epoch."""
    return {
        name: [epoch[name] for epoch in side.epochs]
        for name in side.epochs[0]
        if side.kind(name) == kind
        and is_held_out(name) == held_out
        and all(name in epoch for epoch in side.epochs)
    }


def _judge(
    seen: Compared,
    kind: str,
    names: tuple[str, str],
    numbers: tuple[Numbers, Numbers],
    passes: Callable[[], Sequence[Pass]],
) -> None:
    expected, got = numbers
    if len(expected) != len(got):
        seen.told.append(f"{names[1]}: of {len(got)} epochs, the original's of {len(expected)}")
        return
    if _all_close(got, expected):
        seen.count += len(got)
        return
    at = next(e for e, (x, y) in enumerate(zip(got, expected, strict=True)) if not close(x, y))
    apart = f"{names[1]} is {got[at]:.9g}, the original's {names[0]} {expected[at]:.9g}"
    if kind == "auc":
        seen.told.append(
            f"{apart}: Keras counts an AUC at 200 thresholds, torchmetrics at each row"
        )
        return
    for formula in _formulas(kind, passes()):
        if not _all_close(expected, formula.right):
            continue
        if any(_all_close(got, also) for also in formula.also):
            seen.count += len(got)
            return
        causes = [cause for cause, wrong in formula.wrong if _all_close(got, wrong)]
        if len({cause.name for cause in causes}) != 1:
            seen.told.append(f"{apart}: it follows no formula that is known")
            return
        seen.count += len(got)
        seen.breaks.append(
            Break(
                side="b",
                rung="metrics",
                place=Place(epoch=at + 1, tensor=names[1]),
                got=f"{got[at]:.9g}",
                expected=f"{expected[at]:.9g}",
                cause=causes[0],
            )
        )
        return
    seen.told.append(f"{apart}: by which formula, is not known")


def _all_close(got: Numbers, expected: Numbers) -> bool:
    return len(got) == len(expected) and all(map(close, got, expected))


# --- Formulas -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Formula:
    """The right numbers of the epochs, those that may stand for them, and wrong ones by cause."""

    right: Numbers
    wrong: list[tuple[Cause, Numbers]]
    also: list[Numbers] = field(default_factory=list)


def _formulas(kind: str, passes: Sequence[Pass]) -> Iterator[Formula]:
    """Ways in which a number of this kind may be made of a pass."""
    if kind == "loss":
        plain = [[_counted(made, one) for one in passes] for made in _losses_of(passes)]
        minimised = [one.losses for one in passes]
        if all(len(losses) for losses in minimised):
            epochs = [_measures(losses, one) for losses, one in zip(minimised, passes, strict=True)]
            # Logged without what is added to it for training.
            yield _formula(kind, epochs, also=[[right(kind, e) for e in each] for each in plain])
        for epochs in plain:
            yield _formula(kind, epochs)
    elif kind in ("mse", "mae"):
        for error in _ERRORS[kind]:
            if all(_alike(z, y) for one in passes for z, y in zip(one.z, one.y, strict=True)):
                yield _formula(kind, [_counted(error, one) for one in passes])
    elif all(
        _classes(z, y) is not None for one in passes for z, y in zip(one.z, one.y, strict=True)
    ):
        yield _formula(kind, [_hits(one) for one in passes], wrong=_thresholds(passes))


def _formula(
    kind: str,
    epochs: Sequence[EpochMeasures],
    *,
    wrong: Sequence[tuple[Cause, Numbers]] = (),
    also: Sequence[Numbers] = (),
) -> Formula:
    of = "accuracy" if kind == "accuracy" else "loss"
    exact = [right(of, epoch) for epoch in epochs]
    made = [list(metrics.formulas(of, epoch)) for epoch in epochs]
    found = [
        (each[0][0], [value for _, value in each])
        for each in zip(*made, strict=True)
        if kind == "loss" or each[0][0].name not in OF_LOSSES
    ]
    ever = [right(of, _together(epochs[: n + 1])) for n in range(len(epochs))]
    found.append((Cause("metric_not_reset", "of all epochs so far"), ever))
    found += wrong
    return Formula(exact, [item for item in found if not _all_close(item[1], exact)], list(also))


def _together(epochs: Sequence[EpochMeasures]) -> EpochMeasures:
    return EpochMeasures(
        np.concatenate([epoch.losses for epoch in epochs]),
        np.concatenate([epoch.rows for epoch in epochs]),
        np.concatenate([epoch.correct for epoch in epochs]),
    )


# --- What a pass gives ----------------------------------------------------------------------------


def _measures(values: Array, one: Pass) -> EpochMeasures:
    rows = np.array([len(z) for z in one.z])
    return EpochMeasures(values, rows, np.zeros(len(rows), np.int64))


def _counted(error: Callable[[Array, Array], Array], one: Pass) -> EpochMeasures:
    """A mean of each batch."""
    each = [float(error(z, y).mean()) for z, y in zip(one.z, one.y, strict=True)]
    return _measures(np.array(each), one)


def _sigmoid(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


_ERRORS: dict[str, tuple[Callable[[Array, Array], Array], ...]] = {
    "mse": (
        lambda z, y: (z - y.reshape(z.shape)) ** 2,
        lambda z, y: (_sigmoid(z) - y.reshape(z.shape)) ** 2,
    ),
    "mae": (
        lambda z, y: np.abs(z - y.reshape(z.shape)),
        lambda z, y: np.abs(_sigmoid(z) - y.reshape(z.shape)),
    ),
}


def _cross_entropy(z: Array, y: Array) -> Array:
    most = z.max(axis=-1, keepdims=True)
    shares = z - most - np.log(np.exp(z - most).sum(axis=-1, keepdims=True))
    if _alike(z, y):
        return np.asarray(-(shares * y.reshape(z.shape)).sum(axis=-1))
    classes = y.reshape(*z.shape[:-1], 1).astype(np.int64)
    return np.asarray(-np.take_along_axis(shares, classes, axis=-1))


def _binary_cross_entropy(z: Array, y: Array) -> Array:
    return np.asarray(np.logaddexp(0, z) - z * y.reshape(z.shape))


def _alike(z: Array, y: Array) -> bool:
    return z.size == y.size


def _losses_of(passes: Sequence[Pass]) -> Iterator[Callable[[Array, Array], Array]]:
    """Losses whose targets have the shape of these."""
    z, y = passes[0].z[0], passes[0].y[0]
    if not z.size:
        return
    if z.shape[-1] > 1 and (_alike(z, y) or y.size * z.shape[-1] == z.size):
        yield _cross_entropy
    if _alike(z, y):
        yield _binary_cross_entropy
        yield from _ERRORS["mse"]
        yield from _ERRORS["mae"]


def _classes(z: Array, y: Array) -> tuple[Array, Array] | None:
    """True and predicted classes of a batch, flat; None where its targets are no classes."""
    width = z.shape[-1]
    if width > 1 and y.size * width == z.size:
        truth = y.ravel()
    elif width > 1 and z.shape == y.shape and bool((y.sum(axis=-1) == 1).all()):
        truth = y.argmax(axis=-1).ravel()
    elif _alike(z, y) and bool(np.isin(y, (0, 1)).all()):
        return y.ravel().astype(np.int64), (z.ravel() > 0).astype(np.int64)
    else:
        return None
    return truth.astype(np.int64), z.argmax(axis=-1).ravel()


def _hits(one: Pass) -> EpochMeasures:
    """Right predictions of each batch, and all of them by class."""
    pairs = [_classes(z, y) for z, y in zip(one.z, one.y, strict=True)]
    truth, guess = (np.concatenate([pair[k] for pair in pairs if pair]) for k in (0, 1))
    size = 1 + int(max(truth.max(initial=0), guess.max(initial=0), one.z[0].shape[-1] - 1))
    confusion = np.zeros((size, size), np.int64)
    np.add.at(confusion, (truth, guess), 1)
    rows = np.array([len(pair[0]) for pair in pairs if pair])
    hits = np.array([int((pair[0] == pair[1]).sum()) for pair in pairs if pair])
    return EpochMeasures(np.zeros(len(rows)), rows, hits, confusion)


def _thresholds(passes: Sequence[Pass]) -> list[tuple[Cause, Numbers]]:
    """Accuracies of two classes by another threshold than the half of a probability."""
    if any(not _alike(z, y) for one in passes for z, y in zip(one.z, one.y, strict=True)):
        return []

    def share(predicted: Callable[[Array], Array]) -> Numbers:
        found = []
        for one in passes:
            hits = [predicted(z) == y.reshape(z.shape) for z, y in zip(one.z, one.y, strict=True)]
            found.append(float(np.concatenate([each.ravel() for each in hits]).mean()))
        return found

    ways: list[tuple[str, Callable[[Array], Array]]] = [
        ("0.5 on logits", lambda z: z > 0.5),
        ("0 on probabilities", np.ones_like),
        ("the class of a single output", np.zeros_like),
        ("logits rounded", np.round),
    ]
    found = [(Cause("accuracy_threshold", what), share(way)) for what, way in ways]
    for tenths in (1, 2, 3, 4, 6, 7, 8, 9):
        limit = float(np.log(tenths / (10 - tenths)))
        cause = Cause("accuracy_threshold", f"0.{tenths} on probabilities")
        found.append((cause, share(lambda z, limit=limit: z > limit)))  # type: ignore[misc]
    return found
