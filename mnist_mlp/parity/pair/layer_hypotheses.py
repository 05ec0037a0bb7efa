"""Hypotheses about layers: their settings, the work between them, and what is trained of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from mnist_mlp.parity.findings import Cause
from mnist_mlp.parity.pair import (
    attention,
)
from mnist_mlp.parity.pair.judge import Finding
from mnist_mlp.parity.pair.run import PairRun
from mnist_mlp.parity.pair.segments import Beside, at_its_source, family, side_by_side
from mnist_mlp.parity.pair.settings import differing, short, told
from mnist_mlp.parity.pair.updates import Hypothesis
from mnist_mlp.ports.inputs import arrays_of, orders
from mnist_mlp.ports.pair import Mend, PairLayer, layer_and_role


def settings(a: PairLayer, b: PairLayer, framework: str) -> Iterator[Hypothesis]:
    """Settings of one layer in both models; the port's framework says how they are written."""
    for name, ours, theirs in differing(a, b):
        text = told(name, ours, theirs, b.name)
        mends = (Mend(b.number, name, ours),)
        if a.kind.endswith("_norm"):
            argument = "num_groups" if framework == "torch" else "groups"
            fix = f"{argument}={ours} in {b.name}" if name == "groups" else ""
            if name == "training":
                mode = "training" if ours else "evaluation"
                text = f"in {'evaluation' if ours else 'training'} instead of {mode}, {b.name}"
                fix = f"by hand, leave {b.name} in {mode} while the network is trained"
            yield Hypothesis(mends, Cause("normalisation_settings", text, fix=fix))
        elif a.kind == "conv":
            fix = _fix_of_pads(ours, b, framework) if name == "pads" else ""
            yield Hypothesis(mends, Cause("convolution_settings", text, fix=fix))
        elif a.kind == "conv_transpose":
            yield Hypothesis(mends, Cause("transposed_convolution_settings", text))
        elif a.kind == "embedding":
            yield Hypothesis(mends, Cause("embedding_settings", text))


def _fix_of_pads(pads: Sequence[tuple[int, int]], b: PairLayer, framework: str) -> str:
    """How a convolution of the port pads as the original's does."""
    if not any(map(any, pads)):
        none = "0" if framework == "torch" else '"valid"'
        return f"padding={none} in {b.name}"
    if framework == "keras":
        shown = pads[0] if len(pads) == 1 else tuple(pads)
        rank = f"{len(pads)}D"
        return (
            f'keras.layers.ZeroPadding{rank}({shown}) in front of {b.name}, padding="valid" in it'
        )
    if all(before == after for before, after in pads):
        return f"padding={tuple(before for before, _ in pads)} in {b.name}"
    around = tuple(n for pair in reversed(pads) for n in pair)
    return f"x = F.pad(x, {around}) in front of {b.name}, padding=0 in it"


def padding(run: PairRun, index: int) -> Iterator[Hypothesis]:
    """Padding in front of a convolution, together with its own."""
    pair = run.weights.pairs[index]
    if pair.a.kind != "conv" or pair.b.kind != "conv":
        return
    front_a = _in_front(run.facts_a.layers, pair.a)
    front_b = _in_front(run.facts_b.layers, pair.b)
    if front_a is None and front_b is None:
        return
    ours, theirs = _all_pads(pair.a, front_a), _all_pads(pair.b, front_b)
    if len(ours) != len(theirs) or ours == theirs:
        return
    skipped = () if front_b is None else (Mend(front_b.number, "skip"),)
    text = told("pads", ours, theirs, pair.b.name)
    fix = _fix_of_pads(ours, pair.b, run.facts_b.framework)
    mends = (*skipped, Mend(pair.b.number, "pads", ours))
    yield Hypothesis(mends, Cause("convolution_settings", text, fix=fix))


def _in_front(layers: Sequence[PairLayer], layer: PairLayer) -> PairLayer | None:
    """The padding between a layer and the one with weights that ran before it."""
    before = max((x.number for x in layers if x.shapes and x.number < layer.number), default=-1)
    found = [x for x in layers if before < x.number < layer.number and _pads(x)]
    return found[-1] if found else None


def _pads(layer: PairLayer) -> bool:
    return layer.kind == "pad" or layer.kind.startswith("ZeroPadding")


def _all_pads(layer: PairLayer, front: PairLayer | None) -> tuple[tuple[int, int], ...]:
    """What a convolution pads, and what is padded in front of it, for each axis of space."""
    own = [tuple(pair) for pair in layer.settings["pads"]]
    more = [(0, 0)] * len(own) if front is None else front.settings["pads"]
    return tuple((a + x, b + y) for (a, b), (x, y) in zip(own, more, strict=False))


def statistics(a: PairLayer, b: PairLayer, run: PairRun) -> Iterator[Hypothesis]:
    for name, ours, theirs in differing(a, b):
        if name == "momentum":
            text = told(name, ours, theirs, b.name)
            mends = (Mend(b.number, name, ours),)
            yield Hypothesis(mends, Cause("normalisation_settings", text))
    text = f"n / (n - 1) times the population variance in torch, in {b.name}"
    yield Hypothesis((Mend(b.number, "population_variance"),), Cause("unbiased_variance", text))
    if run.facts_b.loop and run.facts_b.framework == "torch":
        text = f"{b.name} moves them between two steps"
        yield Hypothesis((Mend(None, "still"),), Cause("validation_in_training_mode", text))


def work(run: PairRun, index: int) -> Iterator[Hypothesis]:
    """Work without weights in front of a layer, the nearest first.

    What stands in front of earlier layers may be on another branch that leads here. What is missing
    or done otherwise in each of several branches is tried at once, too.
    """
    alike: dict[tuple[str, ...], list[Hypothesis]] = {}
    across = list(_across(run))
    for place in range(index, -1, -1):
        last = place == len(run.weights.pairs)
        for beside in side_by_side(run.facts_a.layers, run.facts_b.layers, run.weights, place):
            if beside.b is None:
                source = at_its_source(beside, run.weights, run.facts_a.layers, run.facts_b.layers)
                tried = list(_missing(source, run, last=last))
            elif beside.a is None:
                tried = [*_other_axes(beside.b), *_extra(beside.b)]
            else:
                tried = [*_other_axes(beside.b), *_otherwise(beside.a, beside.b)]
            yield from tried
            for each in tried:
                kinds = tuple(x.kind if x else "" for x in (beside.a, beside.b))
                dropped = each.cause.name == "dropout_missing"
                alike.setdefault((each.cause.name, *(() if dropped else kinds)), []).append(each)
    yield from across
    for several in alike.values():
        if len(several) > 1:
            mends = tuple(mend for each in several[::-1] for mend in each.mends)
            text = "; ".join(str(each.cause.value) for each in several[::-1])
            yield Hypothesis(mends, replace(several[0].cause, value=text))


def _across(run: PairRun) -> Iterator[Hypothesis]:
    """The same for work that stands alone on either side, as the two run their branches in other
    orders."""
    alone: tuple[list[PairLayer], list[PairLayer]] = [], []
    for place in range(len(run.weights.pairs) + 1):
        for beside in side_by_side(run.facts_a.layers, run.facts_b.layers, run.weights, place):
            if beside.b is None and beside.a is not None:
                alone[0].append(beside.a)
            elif beside.a is None and beside.b is not None:
                alone[1].append(beside.b)
    for a, b in product(*alone):
        if family(a.kind) == family(b.kind):
            yield from _otherwise(a, b)


def reshaped(run: PairRun) -> Iterator[Hypothesis]:
    """Images whose axes a port names anew by a reshape, instead of exchanging them."""
    x = run.rows_b.x
    if not isinstance(x, np.ndarray) or x.ndim < 3:
        return
    axes = x.ndim - 1
    torch = run.facts_b.framework == "torch"
    for where, moved in (
        ("first", (0, axes, *range(1, axes))),
        ("last", (0, *range(2, axes + 1), 1)),
    ):
        text = f"rows {x.shape[1:]} get their channels {where} by a reshape, in the model or loop"
        fix = f"x.permute{moved}" if torch else f"ops.transpose(x, {moved})"
        fix += " in the place of the reshape"
        yield Hypothesis((Mend(None, "axes", where),), Cause("axes_reshaped", text, fix=fix))


def swapped(run: PairRun) -> Iterator[Hypothesis]:
    """Inputs of equal shapes, which a model may take for each other."""
    if isinstance(run.rows_b.x, np.ndarray):
        return
    shapes = [x.shape[1:] for x in arrays_of(run.rows_b.x)]
    for order in orders(shapes, shapes)[1:]:
        moved = ", ".join(f"{k + 1} for {i + 1}" for i, k in enumerate(order) if i != k)
        mends = (Mend(None, "inputs", tuple(order)),)
        yield Hypothesis(mends, Cause("inputs_swapped", f"input {moved}"))


def _missing(beside: Beside, run: PairRun, *, last: bool) -> Iterator[Hypothesis]:
    layer = beside.a
    if layer is None or (last and family(layer.kind) == "activation"):
        return  # a softmax may be within the loss
    work = layer.kind, dict(layer.settings)
    if beside.behind is not None:
        mends = (Mend(beside.behind, "after", work),)
    elif run.weights.pairs:  # in front of all layers
        mends = (Mend(run.weights.pairs[0].b.number, "before", work),)
    else:
        return
    match family(layer.kind):
        case "dropout":
            rate = layer.settings.get("rate", 0.0)
            text = f"{layer.name} (rate {rate:.6g}) in the original"
            yield Hypothesis(mends, Cause("dropout_missing", text, fix=_of_maps(layer)))
        case "noise":
            text = f"{layer.name} ({_setting(layer)}) in the original"
            yield Hypothesis(mends, Cause("noise_missing", text))
        case "activation":
            yield Hypothesis(mends, Cause("activation_missing", f"{layer.name} in the original"))
        case "pool":
            yield Hypothesis(
                mends, Cause("pooling_settings", f"no {layer.name} as in the original")
            )


def _extra(layer: PairLayer) -> Iterator[Hypothesis]:
    mends = (Mend(layer.number, "skip"),)
    match family(layer.kind):
        case "dropout":
            yield Hypothesis(mends, Cause("dropout", f"{layer.name}, not in the original"))
        case "noise":
            text = f"{layer.name} ({_setting(layer)}), not in the original"
            yield Hypothesis(mends, Cause("extra_noise", text))
        case "activation":
            yield Hypothesis(mends, Cause("extra_activation", f"{layer.name}, not in the original"))
        case "pool":
            yield Hypothesis(mends, Cause("pooling_settings", f"{layer.name}, not in the original"))


def _other_axes(b: PairLayer) -> Iterator[Hypothesis]:
    """A softmax of the port's over another axis, whatever the original's shapes are."""
    here = b.settings.get("axis")
    if here is None or family(b.kind) != "activation":
        return
    for axis in range(b.settings["axes"]):
        if axis != here:
            text = f"over axis {here} instead of {axis} in {b.name}"
            cause = Cause("other_activation", text, fix=f"dim={axis} in {b.name}")
            if here == 0:
                cause = replace(cause, name="softmax_over_batch")
            yield Hypothesis((Mend(b.number, "axis", axis),), cause)


def _otherwise(a: PairLayer, b: PairLayer) -> Iterator[Hypothesis]:
    """The same sort of work, done otherwise."""
    if a.kind == attention.KIND:
        yield from (Hypothesis(*each) for each in attention.of_settings(a, b))
        return
    unlike = list(differing(a, b))
    if a.kind == b.kind and not unlike:
        return
    instead = (Mend(b.number, "kind", (a.kind, dict(a.settings))),)
    text = ", ".join(told(name, x, y, b.name) for name, x, y in unlike)
    match family(a.kind):
        case "activation" if a.kind == b.kind == "leaky_relu":
            yield Hypothesis(instead, Cause("leaky_relu_slope", text))
        case "activation" if a.kind == b.kind == "gelu":
            yield Hypothesis(instead, Cause("gelu_tanh_approximation", text))
        case "activation":
            words = "; ".join(filter(None, (f"{b.name} instead of {a.name}", text)))
            fix = f"{a.kind} in place of {b.name}"
            yield Hypothesis(instead, Cause("other_activation", words, fix=fix))
        case "dropout" if a.kind == b.kind:
            rate = (Mend(b.number, "rate", a.settings["rate"]),)
            yield Hypothesis(rate, Cause("dropout_rate", text))
        case "dropout":
            words = f"{b.name} instead of {a.name}"
            yield Hypothesis(instead, Cause("dropout_rate", words, fix=_of_maps(a)))
        case "noise" if a.kind == b.kind:
            name = "rate" if "rate" in a.settings else "stddev"
            yield Hypothesis((Mend(b.number, name, a.settings[name]),), Cause("noise_scale", text))
        case "noise":
            text = f"{b.name} ({_setting(b)}) instead of {a.name} ({_setting(a)})"
            yield Hypothesis(instead, Cause("other_noise", text))
        case "pool" if "window" in a.settings:
            shown = text if a.kind == b.kind else f"{b.name} instead of {a.name}"
            yield Hypothesis(instead, Cause("pooling_settings", shown))
        case "upsampling" if a.settings["mode"] in ("nearest", "linear"):
            yield Hypothesis(instead, Cause("upsampling_settings", text))


def _of_maps(layer: PairLayer) -> str:
    """How whole maps are dropped; torch has a layer for each number of axes."""
    if layer.kind != "spatial_dropout":
        return ""
    return f"by hand, drop whole maps at a rate of {layer.settings['rate']:.6g}, as {layer.name}"


def _setting(layer: PairLayer) -> str:
    """`stddev 0.1`."""
    return ", ".join(f"{name} {short(value)}" for name, value in layer.settings.items())


def stopped(run: PairRun, finding: Finding) -> Iterator[Hypothesis]:
    """A branch that is cut off from the layers before it."""
    if finding.layer is None:
        return
    pair = run.weights.every[finding.layer]
    mends = (Mend(pair.b.number, "attached"),)
    yield Hypothesis(mends, Cause("gradient_stopped", f"behind {pair.b.name}"))


def _not_frozen(run: PairRun) -> Hypothesis:
    """All tensors that the port alone trains, as a base that should stay as it was loaded."""
    theirs = run.weights.to_a(run.own_steps()[0].gradients, gradients=True)
    names = sorted(theirs.keys() - run.steps_a[0].gradients.keys(), key=run.weights.order)
    mends, told = [], []
    for name in names:
        pair = run.weights.every[run.weights.place(name)]
        layer, role = pair.b, pair.role_in_b(layer_and_role(name)[1])
        mends.append(Mend(layer.number, "frozen", role))
        told.append(tensor_words(role, layer.name))
    return Hypothesis(tuple(mends), Cause("not_frozen", ", ".join(told)))


def tensor_words(role: str, name: str) -> str:
    """A tensor in words: by its layer, where it has one."""
    return name if role == "weight" else f"{role} of {name}"


def frozen(run: PairRun, finding: Finding) -> Iterator[Hypothesis]:
    assert finding.layer is not None
    if finding.expected == "none":
        yield _not_frozen(run)
    if finding.got != "none":
        return
    pair = run.weights.every[finding.layer]
    mends = (Mend(pair.b.number, "trained"),)
    text = tensor_words(pair.role_in_b(finding.tensor), pair.b.name)
    yield Hypothesis(mends, Cause("frozen_tensor", text))
