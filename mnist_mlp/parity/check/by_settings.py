"""Dropout and normalisation in an original: nobody can replay them yet.

Both models are run with such layers passed by, so that all else is judged as ever. The layers are
compared: whether one stands in only one of the two, and by their settings. What differs for certain
is told; where nothing does, nobody knows, and the verdict names the layers. Where such a thing is
made by hand, it cannot be passed by: initial weights are all that is then judged beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from mnist_mlp.parity.causes import init
from mnist_mlp.parity.check import supported
from mnist_mlp.parity.check.side import PortEvidence, dense_layers_agree
from mnist_mlp.parity.check.steps import Setting
from mnist_mlp.parity.findings import RUNGS, Break, Cause, Place
from mnist_mlp.ports.protocol import PortFacts, PortLayer

Where = tuple[int, str]
"""Number of the dense layer before it (-1: none), and what it is."""

HIDDEN = {"dropout": "random", "batch normalisation": "statistics"} | {
    "layer normalisation": "statistics"
}
"""What a step does where such a layer is made by hand."""

NEAR = 1e-6
"""Settings may come through float32."""


MADE_BY_HAND = ("batch_normalisation", "dropout", "layer_normalisation")
"""Causes by which the steps of an original show that it does such a thing without a layer."""


def hides(original: PortEvidence, port: PortFacts) -> bool:
    """Whether one of the two does such a thing where it cannot be passed by."""
    if _by_hand(original):
        return True
    needed = {HIDDEN[supported.family(x)] for x in _layers(original)}
    return bool(needed) and (port.hidden is None or bool(needed & set(port.hidden)))


def _layers(seen: PortEvidence) -> list[PortLayer]:
    return supported.compared_by_settings(seen.facts.layers)


def _by_hand(seen: PortEvidence) -> list[Cause]:
    return [item.cause for item in seen.breaks if item.cause.name in MADE_BY_HAND]


def compare(first: PortEvidence, second: PortEvidence) -> None:
    """Enter into `second`, run with such layers passed by, how they differ from the original's."""
    if not _layers(first):
        return
    first.remarks = supported.remarks(first.facts)  # the layers are told below
    second.breaks += _differences(first.facts, second.facts)
    second.not_judged = (
        f"{_names(first)}; {_names(second)}: they were passed by, and compared by settings",
        *second.not_judged,
    )
    if not second.broken("forward"):
        second.leave_out("forward", reason=f"judged without {_kinds(first, second)}")
    second.leave_out("predictions", reason="layers were passed by that evaluation needs")


def compare_unrun(first: PortEvidence, second: PortEvidence, given: Setting) -> None:
    """...into one that was not run: then steps say nothing."""
    why = f"steps with {_kinds(first, second)} cannot be replayed yet"
    second.leave_out(*(rung for rung in RUNGS if rung not in ("spec", "init")), reason=why)
    second.not_judged = (
        f"{_names(first)}; {_names(second)}: only settings and initial weights were compared",
        *supported.not_judged(second.facts, original=False),
    )
    if dense_layers_agree(second, given, "b"):
        second.breaks += init.pair_breaks(
            first.facts.draws, second.facts.draws, given.plan.spec.model.layers, side="b"
        )
        second.breaks += _differences(first.facts, second.facts)
    for item in second.breaks:
        second.missing.pop(item.rung, None)


def _kinds(first: PortEvidence, second: PortEvidence) -> str:
    listed = [supported.family(layer) for layer in (*_layers(first), *_layers(second))]
    by_hand = [cause.name.replace("_", " ") for cause in _by_hand(first)]
    return ", ".join(dict.fromkeys([*listed, *by_hand]))


def _names(seen: PortEvidence) -> str:
    layers = [supported.named(layer) for layer in _layers(seen)]
    by_hand = [f"{cause.name} ({cause.value}) made by hand" for cause in _by_hand(seen)]
    if seen.facts.hidden is None or seen.facts.hidden:
        by_hand = by_hand or ["work outside of its layers"]
    return f"{seen.label} has {', '.join([*layers, *by_hand]) or 'no such layer'}"


def _differences(original: PortFacts, port: PortFacts) -> Iterator[Break]:
    theirs, own = _by_place(original.layers), _by_place(port.layers)
    for at in sorted({*theirs, *own}):
        for a, b in zip_longest(theirs.get(at, []), own.get(at, [])):
            if b is None:
                if _shows_all(port, at):
                    yield _missing(at, a)
            elif a is None:
                if _shows_all(original, at):
                    yield _extra(at, b)
            elif details := _other_settings(a, b):
                yield _other(at, a, b, details)


def _by_place(layers: Sequence[PortLayer]) -> dict[Where, list[PortLayer]]:
    found: dict[Where, list[PortLayer]] = defaultdict(list)
    after = -1
    for layer in layers:
        after += layer.dense
        if supported.status(layer) == "settings":
            found[after, supported.family(layer)].append(layer)
    return found


def _shows_all(facts: PortFacts, at: Where) -> bool:
    """Whether a layer that is not listed is not there: it may be made by hand."""
    return facts.hidden is not None and HIDDEN[at[1]] not in facts.hidden


def _other_settings(a: PortLayer, b: PortLayer) -> str:
    """What `b` has instead of what `a` has; empty where nothing differs."""
    return ", ".join(
        f"{name} {b.settings[name]:.6g} instead of {a.settings[name]:.6g}"
        for name in a.settings
        if name in b.settings and abs(a.settings[name] - b.settings[name]) > NEAR
    )


# --- Breaks ---------------------------------------------------------------------------------------


def _missing(at: Where, layer: PortLayer) -> Break:
    name = "dropout_missing" if at[1] == "dropout" else "normalisation_missing"
    cause = Cause(name, f"{supported.named(layer)} {_after(at)} in the original")
    return _at(at, cause, got="none", expected=supported.named(layer))


def _extra(at: Where, layer: PortLayer) -> Break:
    name = at[1].replace(" ", "_")
    cause = Cause(name, f"{supported.named(layer)} {_after(at)}")
    return _at(at, cause, got=supported.named(layer), expected="none")


def _other(at: Where, a: PortLayer, b: PortLayer, details: str) -> Break:
    name = "dropout_rate" if at[1] == "dropout" else "normalisation_settings"
    cause = Cause(name, f"{details} {_after(at)}")
    return _at(at, cause, got=supported.named(b), expected=supported.named(a))


def _after(at: Where) -> str:
    return "on the inputs" if at[0] < 0 else f"after layer {at[0]}"


def _at(at: Where, cause: Cause, *, got: str, expected: str) -> Break:
    before = at[0]
    on_inputs = before < 0
    return Break(
        side="b",
        rung="data" if on_inputs else "forward",
        place=Place(1, 1, max(before, 0), "inputs" if on_inputs else "activation"),
        got=got,
        expected=expected,
        cause=cause,
    )
