"""What a pair's differences are called: experiments until nothing is left to mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from mnist_mlp.parity.findings import UNKNOWN, Break, Cause, Place
from mnist_mlp.parity.pair.blame import lines_of
from mnist_mlp.parity.pair.code import code_of
from mnist_mlp.parity.pair.experiments import CHAIN, explain, first_of
from mnist_mlp.parity.pair.judge import Finding, Judged, unmoved_by
from mnist_mlp.parity.pair.loss_hypotheses import SINGLE
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.weight_map import LayerPair, weight_words
from mnist_mlp.ports.inputs import arrays_of
from mnist_mlp.ports.pair import Mend, layer_and_role

NOTED = ("unbiased_variance",)
"""Differences that no port can avoid with its framework's own layers: told, and tolerated."""

ARGUMENTS = {
    "torch": {
        "epsilon": "eps",
        "rate": "p",
        "slope": "negative_slope",
        "learning_rate": "lr",
        "smoothing": "label_smoothing",
        **{name: name for name in ("momentum", "weight_decay", "delta")},
    },
    "keras": {
        "slope": "negative_slope",
        "smoothing": "label_smoothing",
        "delta": "delta",
        **{n: n for n in ("epsilon", "rate", "learning_rate", "momentum", "weight_decay")},
    },
}
"""What a framework calls the settings that are plain numbers."""

PLACES = {"kind": "in place of", "after": "behind"}
"""Where the original's work belongs that an experiment did on the port."""

WITHIN_LAYER = (
    "convolution_settings",
    "transposed_convolution_settings",
    "batch_first_missing",
    "sequence_reversed",
    "inputs_swapped",
)
"""Settings of a layer that show in what it gets, as a convolution's padding in front of it."""

ROUNDED = 1e-6
"""As much as float32 rounds data, as a share of a tensor's largest element."""

VAST = 1e100
"""So many times the largest element is no number that says anything."""

MOST = 12
"""Differences that are mended one after another."""

IMMEASURABLE = 1e30
"""Size of a difference from what is not there, or from numbers that are all zero."""


@dataclass
class Explained:
    """Breaks with their causes, what is only noted, and what is left when all that is mended.

    `open_stages` are those behind a difference that could not be removed. `in_float32` says
    which differences are no larger than a table or a function in float32 makes them.
    """

    judged: Judged
    breaks: list[Break] = field(default_factory=list)
    noted: list[Cause] = field(default_factory=list)
    open_stages: list[str] = field(default_factory=list)
    rounded: float = 0.0
    """A difference that may be the rounding of the data; 0 for none."""
    in_float32: list[str] = field(default_factory=list)


def explained(run: PairRun) -> Explained:
    """Mend what experiments explain, and look on behind it."""
    mends: tuple[Mend, ...] = ()
    seen = Explained(run.judged())
    seen.breaks += _unmoved(run)
    for group in (CHAIN, ("update",), ("state",)):
        for _ in range(MOST):
            finding = first_of(run.judged(mends), group)
            if finding is None:
                break
            found = explain(finding, run, mends)
            if found is None and finding.stage in CHAIN and run.settle_own(mends):
                continue
            if found is None and is_rounded(finding, run):
                seen.rounded = finding.size
                seen.open_stages += ["forward", *_behind(finding)]
                break
            if found is None and finding.stage in CHAIN and finding.size <= SINGLE:
                seen.in_float32.append(_rounded(finding, run))
                seen.open_stages += (finding.stage, *_behind(finding))
                break
            if found is None:
                seen.breaks.append(_break(finding, run, Cause(UNKNOWN, _size(finding)), ()))
                seen.open_stages += _behind(finding)
                break
            for each in found:
                if each.noted or each.cause.name in NOTED:
                    seen.noted.append(each.cause)
                else:
                    fix = each.cause.fix or _fix(each.mends, run)
                    cause = replace(each.cause, fix=fix)
                    seen.breaks.append(_break(finding, run, cause, each.mends))
                mends += each.mends
    seen.noted += map(_other_order, run.reordered)
    seen.judged = run.judged(mends)
    run.agrees = not seen.judged.findings.keys() & set(CHAIN)
    return seen


def _unmoved(run: PairRun) -> list[Break]:
    """Tensors that the port's optimizer leaves as they are, by layer. It does not clear their
    gradients either."""
    names = unmoved_by(run.steps_a, run.own_steps(), run.weights)
    if not names:
        return []
    run.leave_unmoved(names)
    found = []
    for at, several in groupby(names, key=run.weights.place):
        pair = run.weights.every[at]
        roles = [pair.role_in_b(layer_and_role(name)[1]) for name in several]
        layer = pair.b
        text = layer.name if roles == ["weight"] else f"the {' and '.join(roles)} of {layer.name}"
        fix = "by hand, give the optimizer all parameters"
        place = Finding("update", 1, at, roles[0], 1.0, "no movement", "a movement")
        found.append(_break(place, run, Cause("tensor_not_updated", text, fix=fix), ()))
    return found


def _other_order(pair: LayerPair) -> Cause:
    """What is said of a layer whose features stand in another order."""
    if pair.parts and pair.columns is None:
        return Cause("concatenation_order", f"of what {pair.b.name} takes")
    return Cause("flatten_order", f"{pair.b.name} takes or gives its features channels first")


def is_rounded(finding: Finding, run: PairRun) -> bool:
    """Whether a layer's inputs differ by no more than float32 rounds, where one of several inputs
    of the network comes in other numbers on each side: scaled here by the model, and there before.

    Of a single input, such rows are moved by that much (`pair_rows`).
    """
    if finding.tensor != "inputs" or not finding.size <= ROUNDED or run.rows_a is None:
        return False
    ours, theirs = arrays_of(run.rows_a.x), arrays_of(run.rows_b.x)
    if len(ours) < 2 or len(ours) != len(theirs):
        return False
    return any(
        x.size == y.size and not np.array_equal(np.sort(x, axis=None), np.sort(y, axis=None))
        for x, y in zip(ours, theirs, strict=True)
    )


def _behind(finding: Finding) -> Iterator[str]:
    if finding.stage in CHAIN:
        yield from CHAIN[CHAIN.index(finding.stage) + 1 :]


def _fix(mends: tuple[Mend, ...], run: PairRun) -> str:
    """The settings to change in the port, with the original's numbers.

    Empty where that is no matter of numbers. The catalogue then says what to do.
    """
    framework = run.facts_b.framework
    known = ARGUMENTS[framework]
    names = {layer.number: layer.name for layer in run.facts_b.layers}
    words = []
    for mend in mends:
        if mend.field in PLACES and mend.layer in names:
            code = code_of(framework, *mend.value)
            if not code:
                return ""
            words.append(f"{code} {PLACES[mend.field]} {names[mend.layer]}")
            continue
        number = isinstance(mend.value, int | float) and not isinstance(mend.value, bool)
        if mend.field not in known or not number:
            return ""
        value, where = float(mend.value), "the optimizer"
        if mend.layer is not None:
            where = names.get(mend.layer, "the loss")
            if framework == "torch" and mend.field == "momentum":
                value = 1 - value  # of a normalisation: the share of the new, not of the old
        words.append(f"{known[mend.field]}={value:.6g} in {where}")
    return ", ".join(dict.fromkeys(words))


def _rounded(finding: Finding, run: PairRun) -> str:
    where = "the loss"
    if finding.layer is not None:
        where = f"the {finding.tensor} of {run.weights.every[finding.layer].b.name}"
    return (
        f"{finding.stage}: {where} are {finding.size:.1e} of the largest apart, no more than a "
        f"table or a function in float32 makes of it"
    )


def _size(finding: Finding) -> str:
    if finding.size >= IMMEASURABLE:
        return f"{finding.tensor}: {finding.got}, the original's {finding.expected}"
    if finding.size > VAST:
        return f"the original's {finding.tensor} is zero, and the port's is not"
    return f"{finding.size:.2g} of the largest element of {finding.tensor}"


def _break(finding: Finding, run: PairRun, cause: Cause, mends: Sequence[Mend]) -> Break:
    rung, layer, tensor = _place(finding)
    if rung == "data" and run.weights.in_front:
        rung, layer, tensor = "forward", None, f"inputs of {run.weights.pairs[0].b.name}"
    if cause.name in WITHIN_LAYER:
        rung, layer, tensor = "forward", finding.layer, "pre_activation"
    at = finding.layer
    if at is not None and at >= len(run.weights.pairs):  # it is no layer's
        layer, tensor = None, weight_words(run.weights.every[at].b)
    epoch, _ = divmod(finding.step - 1, run.rows_b.steps)
    return Break(
        side="b",
        rung=rung,
        place=Place(epoch + 1, finding.step, layer, tensor),
        got=finding.got,
        expected=finding.expected,
        cause=cause,
        lines=lines_of(finding, mends, run),
    )


def _place(finding: Finding) -> tuple[str, int | None, str]:
    """Rung, layer and tensor, as the ladder names them."""
    layer = finding.layer
    match finding.stage:
        case "forward" if finding.tensor == "outputs":
            return "forward", layer, "pre_activation"
        case "forward" if layer == 0:
            return "data", 0, "inputs"
        case "forward":
            assert layer is not None
            return "forward", layer - 1, "activation"
        case "state":
            return "update", layer, f"moving_{finding.tensor}"
    return finding.stage, layer, finding.tensor
